package ops_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tiergate/tiergate/server/ops"
)

// How counting does is on the status page and in the metrics, and what needs somebody's
// attention is a sentence of its own.
func TestUsage_is_told_on_the_status_page_and_in_the_metrics(t *testing.T) {
	state := healthy(0)
	state.Usage = func() *ops.Usage {
		return &ops.Usage{
			Holder: "h", Leases: 2, Held: 40, Accepted: 5, Denied: map[string]int64{"EXHAUSTED": 3}, Abandoned: 1,
			Log: ops.UsageLog{Records: 9, Bytes: 900, Oldest: 2 * time.Second, OldestMs: 2000, Quarantined: 1},
		}
	}
	state.Ledger = func() *ops.Ledger { return &ops.Ledger{Forfeited: 7, Lost: 2, AsOf: now.Add(-30 * time.Second)} }
	_, body := get(t, state, "/status")
	var told struct {
		Usage    ops.Usage
		Problems []string
	}
	if err := json.Unmarshal([]byte(body), &told); err != nil {
		t.Fatal(err)
	}
	if told.Usage.Held != 40 || told.Usage.Denied["EXHAUSTED"] != 3 || told.Usage.Log.OldestMs != 2000 {
		t.Errorf("the page tells %+v", told.Usage)
	}
	for _, want := range []string{
		"what 1 former processes held is set aside until somebody reconciles it: see tiergate limits list",
		"7 units are set aside for 2 lost processes until somebody reconciles them: see tiergate limits list",
		"1 segments of the usage log were damaged and are set aside",
	} {
		if !slices.Contains(told.Problems, want) {
			t.Errorf("the problems %q lack %q", told.Problems, want)
		}
	}
	_, metrics := get(t, state, "/metrics")
	for _, want := range []string{
		"tiergate_quota_held_units 40", `tiergate_quota_denied_total{reason="EXHAUSTED"} 3`, "tiergate_quota_accepted_total 5",
		"tiergate_spool_oldest_age_seconds 2", "tiergate_spool_records 9", "tiergate_quota_forfeited_units 7",
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("the metrics lack %q", want)
		}
	}
}

// The disk is full. The page says so for as long as it is, with the folder and what becomes of
// uses, and nothing of copies and restores.
func TestUsage_tells_of_a_full_disk_while_it_is_full(t *testing.T) {
	for _, c := range []struct {
		log  ops.UsageLog
		want []string
	}{
		{
			ops.UsageLog{Broken: true, Error: "the disk does not take the usage log: make a segment in /data: no space left on device"},
			[]string{"uses are refused: the disk does not take the usage log: make a segment in /data: no space left on device"},
		},
		{
			ops.UsageLog{Error: "the disk does not take the usage log's cursor: open /data/cursor.new: no space left on device"},
			[]string{"the disk does not take the usage log's cursor: open /data/cursor.new: no space left on device (uses go on; what is counted stays on the disk until it does)"},
		},
		{ops.UsageLog{}, nil},
	} {
		state := healthy(0)
		state.Usage = func() *ops.Usage { return &ops.Usage{Log: c.log} }
		_, body := get(t, state, "/status")
		var told struct{ Problems []string }
		if err := json.Unmarshal([]byte(body), &told); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(told.Problems, c.want) {
			t.Errorf("the problems are %q, want %q", told.Problems, c.want)
		}
	}
}

// Where nothing is counted, nothing is told of it.
func TestUsage_is_left_out_where_nothing_is_counted(t *testing.T) {
	if _, body := get(t, healthy(0), "/status"); strings.Contains(body, `"usage"`) {
		t.Errorf("the page tells of usage: %s", body)
	}
	if _, body := get(t, healthy(0), "/metrics"); strings.Contains(body, "tiergate_quota") {
		t.Errorf("the metrics tell of limits")
	}
}

// Postgres is away: what the whole ledger had when it was last looked at is told on, with its
// age, and after some looks that led to nothing it is a problem. Where nobody could look yet
// there are no figures, and a process that never looks tells nothing.
func TestLedger_figures_have_an_age(t *testing.T) {
	const never = "nobody could look at the whole ledger yet: the database has not answered"
	for _, c := range []struct {
		name             string
		ledger           *ops.Ledger
		status           string
		metrics, missing []string
		problems         []string
	}{
		{
			"fresh", &ops.Ledger{Lost: 2, AsOf: now.Add(-30 * time.Second)},
			`{"forfeited":0,"lost":2,"asOf":"2026-01-02T03:03:35Z","ageMs":30000}`,
			[]string{"tiergate_quota_ledger_age_seconds 30", "tiergate_quota_forfeited_units 0", "tiergate_quota_lost_processes 2"},
			nil, nil,
		},
		{
			"old", &ops.Ledger{Lost: 2, AsOf: now.Add(-5 * time.Minute)},
			`{"forfeited":0,"lost":2,"asOf":"2026-01-02T02:59:05Z","ageMs":300000}`,
			[]string{"tiergate_quota_ledger_age_seconds 300", "tiergate_quota_lost_processes 2"},
			nil,
			[]string{"what is told of the whole ledger is 5m0s old: the database has not answered since"},
		},
		{
			"never read", &ops.Ledger{}, `{"forfeited":null,"lost":null,"ageMs":null}`,
			[]string{"tiergate_quota_ledger_age_seconds +Inf"},
			[]string{"tiergate_quota_forfeited_units", "tiergate_quota_lost_processes"},
			[]string{never},
		},
		{"not looked at", nil, "", nil, []string{"tiergate_quota_ledger_age", "tiergate_quota_forfeited_units", "tiergate_quota_lost_processes"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := healthy(0)
			state.Ledger = func() *ops.Ledger { return c.ledger }
			_, body := get(t, state, "/status")
			var told struct {
				Ledger   json.RawMessage
				Problems []string
			}
			if err := json.Unmarshal([]byte(body), &told); err != nil {
				t.Fatal(err)
			}
			if string(told.Ledger) != c.status || !slices.Equal(told.Problems, c.problems) {
				t.Errorf("the page tells %s and %q, want %s and %q", told.Ledger, told.Problems, c.status, c.problems)
			}
			_, metrics := get(t, state, "/metrics")
			for _, want := range c.metrics {
				if !strings.Contains(metrics, want+"\n") {
					t.Errorf("the metrics lack %q", want)
				}
			}
			for _, name := range c.missing {
				if strings.Contains(metrics, name) {
					t.Errorf("the metrics tell of %s", name)
				}
			}
		})
	}
}
