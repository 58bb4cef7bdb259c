package ops_test

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/ops"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"), // lives as long as the program
	)
}

// at is an evaluator whose generation is at a place in the history; nil: none yet.
type at struct{ resume *tiergate.Resume }

func (a at) Generation() tiergate.Generation {
	if a.resume == nil {
		return nil
	}
	return a
}
func (a at) Resume() tiergate.Resume                                { return *a.resume }
func (at) Decide(*tiergate.Request) tiergate.Decision               { panic("not asked") }
func (at) All(*tiergate.Request) (none iter.Seq[tiergate.Decision]) { return none }
func (at) HasSet(string) bool                                       { return false }
func (at) SetMetadata(string) json.RawMessage                       { return nil }
func (at) Steps(string) tiergate.ClockStep                          { return 0 }

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// healthy is the state of a program that does well, with data that is age old.
func healthy(age time.Duration) ops.State {
	return ops.State{
		Version:   "v1.2.3",
		Evaluator: at{&tiergate.Resume{Epoch: "0123456789", Rev: 42}},
		Freshness: func() tiergate.Freshness {
			return tiergate.Freshness{AsOf: now.Add(-age), Connected: true, Source: "postgres"}
		},
		ReadyMaxAge: 15 * time.Second,
		Now:         func() time.Time { return now },
	}
}

// get asks the door and reads the answer.
func get(t *testing.T, state ops.State, path string) (int, string) {
	t.Helper()
	reg := prometheus.NewRegistry()
	metrics, err := ops.NewMetrics(reg, state)
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range []int{200, 409, 410, 422, 299} {
		metrics.Door("ofrep")(status)
	}
	metrics.Admin("listFeatures", 200)
	metrics.Admin("", 404)
	app := server.NewApp(server.Config{})
	ops.Mount(app, state, reg)
	return ask(t, app, path)
}

func ask(t *testing.T, app *fiber.App, path string) (int, string) {
	t.Helper()
	req := httptest.NewRequest("GET", path, nil)
	req.Host = "localhost"
	res, err := app.Test(req, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// Readiness follows the age of the data; liveness does not.
func TestReadiness_follows_the_age_of_the_data(t *testing.T) {
	never := healthy(time.Hour)
	never.ReadyMaxAge = 0
	early := healthy(0)
	early.Evaluator = at{}
	unconfirmed := healthy(0)
	unconfirmed.Freshness = func() tiergate.Freshness { return tiergate.Freshness{Source: "last-known-good"} }
	for _, tc := range []struct {
		name   string
		state  ops.State
		status int
		body   string
	}{
		{"fresh", healthy(14 * time.Second), 200, `{"ready":true}`},
		{"at the limit", healthy(15 * time.Second), 200, `{"ready":true}`},
		{"old", healthy(16 * time.Second), 503, `{"ready":false,"reason":"the data is 16s old, more than 15s"}`},
		{"old without limit", never, 200, `{"ready":true}`},
		{"before the first state", early, 503, `{"ready":false,"reason":"no state has been loaded yet"}`},
		{"never confirmed", unconfirmed, 503, `{"ready":false,"reason":"the source has never confirmed the state in force"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if status, body := get(t, tc.state, "/readyz"); status != tc.status || body != tc.body {
				t.Errorf("/readyz: %d %s, want %d %s", status, body, tc.status, tc.body)
			}
			if status, body := get(t, tc.state, "/healthz"); status != 200 || body != `{"status":"alive"}` {
				t.Errorf("/healthz: %d %s", status, body)
			}
		})
	}
}

// The status page tells everything, and has each member when there is nothing to tell.
func TestStatus(t *testing.T) {
	full := healthy(1500 * time.Millisecond)
	full.Freshness = func() tiergate.Freshness {
		return tiergate.Freshness{AsOf: now.Add(-1500 * time.Millisecond), Source: "file", Refused: "revision 43: bad"}
	}
	full.Refused = func() uint64 { return 3 }
	full.Quarantined = func() []ops.Quarantined { return []ops.Quarantined{{Set: "default", Flag: "f", Error: "bad rule"}} }
	full.Problems = func() []string { return []string{"the last-known-good file is damaged"} }
	full.Listeners = []ops.Listener{{Name: "http", Addr: "127.0.0.1:8016", TLS: true}}
	early := ops.State{Version: "v1", Evaluator: at{}, Now: func() time.Time { return now }}
	for _, tc := range []struct {
		name  string
		state ops.State
		want  string
	}{
		{"full", full, `{"version":"v1.2.3","revision":"01234567-42","epoch":"0123456789","ready":true,` +
			`"freshness":{"asOf":"2026-01-02T03:04:03.5Z","ageMs":1500,"connected":false,"source":"file"},` +
			`"refused":{"count":3,"newest":"revision 43: bad"},"quarantined":[{"set":"default","flag":"f","error":"bad rule"}],` +
			`"listeners":[{"name":"http","addr":"127.0.0.1:8016","tls":true}],"problems":["the last-known-good file is damaged"]}`},
		{"early", early, `{"version":"v1","revision":"","epoch":"","ready":false,"unready":"no state has been loaded yet",` +
			`"freshness":{"ageMs":null,"connected":false,"source":""},"refused":{"count":0,"newest":""},` +
			`"quarantined":[],"listeners":[],"problems":[]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, body := get(t, tc.state, "/status")
			if diff := cmp.Diff(tc.want, body); status != 200 || diff != "" {
				t.Errorf("/status %d mismatch (-want +got):\n%s", status, diff)
			}
		})
	}
}

// The metrics have the runtime's, the process's, the doors' and the state's.
func TestMetrics(t *testing.T) {
	state := healthy(2 * time.Second)
	state.Refused = func() uint64 { return 3 }
	state.Quarantined = func() []ops.Quarantined {
		return []ops.Quarantined{{Set: "default", Flag: "a"}, {Set: "shop", Flag: "a"}}
	}
	state.Policy = func() ops.Policy {
		return ops.Policy{
			Misses: 10, Evaluations: 20, Overruns: 3, CacheBytes: 4096, CacheItems: 7, Resting: 2,
			Failures: map[string]uint64{"data.tiergate.access.decision": 4},
		}
	}
	status, body := get(t, state, "/metrics")
	if status != 200 {
		t.Fatalf("status %d: %s", status, body)
	}
	for _, line := range []string{
		`tiergate_build_info{version="v1.2.3"} 1`,
		`tiergate_server_requests_total{door="ofrep",outcome="ok"} 1`,
		`tiergate_server_requests_total{door="ofrep",outcome="conflict"} 1`,
		`tiergate_server_requests_total{door="ofrep",outcome="gone"} 1`,
		`tiergate_server_requests_total{door="ofrep",outcome="key_reused"} 1`,
		`tiergate_server_requests_total{door="ofrep",outcome="other"} 1`,
		`tiergate_server_panics_total 0`,
		`tiergate_admin_requests_total{operation="listFeatures",status="200"} 1`,
		`tiergate_admin_requests_total{operation="other",status="404"} 1`,
		`tiergate_sync_revision 42`,
		`tiergate_sync_data_age_seconds 2`,
		`tiergate_sync_connected 1`,
		`tiergate_sync_refused_revisions_total 3`,
		`tiergate_evaluator_quarantined_flags 2`,
		`tiergate_evaluator_quarantined_flag{flag="a",set="default"} 1`,
		`tiergate_evaluator_quarantined_flag{flag="a",set="shop"} 1`,
		`tiergate_evaluator_quarantined_flags_others 0`,
		`tiergate_policy_cache_misses_total 10`,
		`tiergate_policy_cache_bytes 4096`,
		`tiergate_policy_cache_entries 7`,
		`tiergate_policy_evaluations_total 20`,
		`tiergate_policy_overruns_total 3`,
		`tiergate_policy_failures_total{entry_point="data.tiergate.access.decision"} 4`,
		`tiergate_policy_resting_callers 2`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	for _, name := range []string{"\ngo_goroutines ", "\nprocess_resident_memory_bytes "} {
		if !strings.Contains(body, name) {
			t.Errorf("no metric %s", name)
		}
	}
	early := healthy(0)
	early.Evaluator, early.Freshness = at{}, func() tiergate.Freshness { return tiergate.Freshness{} }
	if _, body := get(t, early, "/metrics"); !strings.Contains(body, "tiergate_sync_data_age_seconds +Inf\n") {
		t.Error("the age before the first state is not infinite")
	}
}

// However many flags are broken, few have a series, and the others are counted; names that
// no label can hold break nothing.
func TestMetrics_name_few_quarantined_flags(t *testing.T) {
	state := healthy(0)
	state.Quarantined = func() []ops.Quarantined {
		list := []ops.Quarantined{{Flag: "a\xff"}, {Flag: "a\xfe"}}
		for i := range 5000 {
			list = append(list, ops.Quarantined{Set: "default", Flag: fmt.Sprint("flag-", i), Error: "broken"})
		}
		return list
	}
	status, body := get(t, state, "/metrics")
	if n := strings.Count(body, "\ntiergate_evaluator_quarantined_flag{"); status != 200 || n != 100 {
		t.Errorf("status %d, %d flags have a series", status, n)
	}
	for _, line := range []string{"tiergate_evaluator_quarantined_flags 5002", "tiergate_evaluator_quarantined_flags_others 4902"} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	status, body = get(t, state, "/status")
	if n := strings.Count(body, `"error":"broken"`); status != 200 || n != 998 || !strings.Contains(body, `"4002 more flags are quarantined than are listed"`) {
		t.Errorf("/status %d lists %d flags", status, n)
	}
}

// A policy that gives no answers, or that rests, is a problem that an operator sees.
func TestStatus_tells_of_a_failing_policy(t *testing.T) {
	state := healthy(0)
	state.Policy = func() ops.Policy {
		return ops.Policy{Resting: 2, Errors: []string{"the policy is at odds with itself"}}
	}
	state.Problems = func() []string { return []string{"another"} }
	_, body := get(t, state, "/status")
	want := `"problems":["2 callers asked what overran the policy's deadline too often: for a moment they get remembered answers only",` +
		`"the policy is at odds with itself","another"]}`
	if !strings.HasSuffix(body, want) {
		t.Errorf("/status is %s, want it to end with %s", body, want)
	}
}

// Whatever status a door answers with, the metrics keep few values.
func TestMetrics_labels_are_bounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	metrics, err := ops.NewMetrics(reg, healthy(0))
	if err != nil {
		t.Fatal(err)
	}
	count := metrics.Door("")
	for status := range 1000 {
		count(status)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if n := len(f.GetMetric()); strings.HasPrefix(f.GetName(), "tiergate_") && n > 25 {
			t.Errorf("%s has %d series", f.GetName(), n)
		}
	}
	if _, err := ops.NewMetrics(reg, healthy(0)); err == nil {
		t.Error("registering twice is not an error")
	}
	if n := testing.AllocsPerRun(100, func() { count(200); count(404); count(777) }); n != 0 {
		t.Errorf("counting allocates %v times", n)
	}
}
