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
	state.Ledger = func() *ops.Ledger { return &ops.Ledger{Forfeited: 7, Lost: 2} }
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

// Where nothing is counted, nothing is told of it.
func TestUsage_is_left_out_where_nothing_is_counted(t *testing.T) {
	if _, body := get(t, healthy(0), "/status"); strings.Contains(body, `"usage"`) {
		t.Errorf("the page tells of usage: %s", body)
	}
	if _, body := get(t, healthy(0), "/metrics"); strings.Contains(body, "tiergate_quota") {
		t.Errorf("the metrics tell of limits")
	}
}
