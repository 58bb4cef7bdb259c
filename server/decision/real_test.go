package decision_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/quota"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/decision"
)

// real is the door over the real gate, with the demo data and a ledger in memory.
func real(tb testing.TB) server.Door { return realWith(tb, func(*decision.Config) {}) }

func realWith(tb testing.TB, change func(*decision.Config)) server.Door {
	tb.Helper()
	cfg := realConfig(tb)
	change(&cfg)
	return decision.New(cfg)
}

// realConfig is what both doors answer from.
func realConfig(tb testing.TB) decision.Config {
	tb.Helper()
	return realConfigOf(tb, conformance.Demo())
}

func realConfigOf(tb testing.TB, data []tiergate.Change) decision.Config {
	tb.Helper()
	e := evaluator.New(evaluator.Options{})
	err := e.Apply(tb.Context(), tiergate.Revision{Resume: resume, Whole: true, Changes: tiergate.ChangesOf(data...)})
	if err != nil {
		tb.Fatal(err)
	}
	ledger := new(quota.Memory)
	counter, err := quota.Open(quota.Options{Ledger: ledger, Reservations: ledger, Gauges: ledger, Dir: tb.TempDir(), Patience: 20 * time.Second})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := counter.Close(ctx); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	gate := evaluator.NewGate(e, counter)
	return decision.Config{Evaluator: e, Gate: gate, Reservations: gate, Gauges: gate}
}

// said is what the tests look at of an answer.
type said struct {
	Allow                    bool
	Status                   int
	Reason, Message, Upgrade string
	Tier, DeniedBy           string
	Replayed                 bool
	DecisionID               string
	Limits                   []struct {
		Key       string
		Remaining struct{ Min, Max int64 }
	}
	Reservation *struct{ ID, State string }
}

// talk asks the door without a network.
func talk(t *testing.T, d server.Door, path, body string) (status int, s said) {
	t.Helper()
	var ctx fasthttp.RequestCtx
	fill(&ctx, "/v1/"+path, body)
	d.Handle(&ctx)
	if err := json.Unmarshal(ctx.Response.Body(), &s); err != nil {
		t.Fatalf("%s %s: %s: %v", path, body, ctx.Response.Body(), err)
	}
	return ctx.Response.StatusCode(), s
}

// Over the door the demo's users get what their tiers have, and no more.
func TestReal_uses(t *testing.T) {
	d := real(t)
	for i, tc := range []struct {
		path, body string
		status     int // of the decision
		reason     tiergate.UseReason
		upgrade    string
		left       int64 // of the first limit; −1 for no limits
	}{
		{"check", `{"feature":"exports","subject":{"user":"carol"}}`, 200, tiergate.UseAllowed, "", 3},
		{"consume", `{"feature":"exports","subject":{"user":"carol"},"idempotencyKey":"k1"}`, 200, tiergate.UseAllowed, "", 2},
		{"consume", `{"feature":"exports","subject":{"user":"carol"},"idempotencyKey":"k1"}`, 200, tiergate.UseAllowed, "", 2},
		{"consume", `{"feature":"exports","subject":{"user":"carol"},"cost":3}`, 429, tiergate.UseExhausted, "pro", 2},
		{"consume", `{"feature":"exports","subject":{"user":"carol"},"cost":2}`, 200, tiergate.UseAllowed, "", 0},
		{"check", `{"feature":"exports","subject":{"user":"carol"}}`, 429, tiergate.UseExhausted, "pro", 0},
		{"consume", `{"feature":"exports","subject":{"user":"alice"}}`, 200, tiergate.UseAllowed, "", -1},
		{"consume", `{"feature":"exports","subject":{"user":"nobody we know"}}`, 200, tiergate.UseAllowed, "", 2},
		{"consume", `{"feature":"exports"}`, 400, tiergate.UseInvalid, "", -1},
		{"consume", `{"feature":"white-label","subject":{"user":"bob"}}`, 403, tiergate.UseTier, "enterprise", -1},
		{"consume", `{"feature":"legacy-export","subject":{"user":"bob"}}`, 403, tiergate.UseDisabled, "", -1},
		{"consume", `{"feature":"nothing","subject":{"user":"bob"}}`, 404, tiergate.UseFlagNotFound, "", -1},
		{"track", `{"feature":"exports","subject":{"user":"dave"},"cost":7}`, 200, tiergate.UseAllowed, "", -1},
	} {
		status, s := talk(t, d, tc.path, tc.body)
		if status != 200 || s.Status != tc.status || s.Reason != string(tc.reason) || s.Upgrade != tc.upgrade || s.Allow != (tc.status == 200) || s.DecisionID == "" {
			t.Errorf("%d: %s %s: %d %+v", i, tc.path, tc.body, status, s)
		}
		if tc.left >= 0 && (len(s.Limits) == 0 || s.Limits[0].Remaining.Min != tc.left) {
			t.Errorf("%d: %s %s: limits %+v, want %d left", i, tc.path, tc.body, s.Limits, tc.left)
		}
		if i == 2 && !s.Replayed {
			t.Error("the repeated call took again")
		}
	}
	if status, _ := talk(t, d, "consume", `{"feature":"exports","subject":{"user":"carol"},"cost":2,"idempotencyKey":"k1"}`); status != 422 {
		t.Errorf("the same key with another body: %d", status)
	}
}

// Over the door the demo data leads to the uses that were worked out by hand, alone and in
// batches.
func TestReal_conformance(t *testing.T) {
	for _, batch := range []bool{false, true} {
		conformance.RunUses(t, func(t *testing.T) func(conformance.UseStep) conformance.UseAnswer {
			d := real(t)
			return func(s conformance.UseStep) conformance.UseAnswer {
				question := map[string]any{"feature": s.Feature, "subject": map[string]any{"user": orNull(s.User), "team": orNull(s.Team)}}
				if s.Cost != 0 {
					question["cost"] = s.Cost
				}
				var got said
				if body, _ := json.Marshal(question); batch {
					got = talkInBatch(t, d, s.Do, string(body))
				} else {
					_, got = talk(t, d, s.Do, string(body))
				}
				a := conformance.UseAnswer{
					Reason: got.Reason, Status: got.Status, Tier: got.Tier, Upgrade: got.Upgrade, Denied: got.DeniedBy, Left: map[string]int64{},
				}
				for _, l := range got.Limits {
					a.Left[l.Key] = l.Remaining.Max
				}
				return a
			}
		})
	}
}

func orNull(id string) any {
	if id == "" {
		return nil
	}
	return id
}

func talkInBatch(t *testing.T, d server.Door, verb, body string) said {
	t.Helper()
	var ctx fasthttp.RequestCtx
	fill(&ctx, "/v1/batch/"+verb, `{"items":[`+body+`]}`)
	d.Handle(&ctx)
	var answer struct{ Items []said }
	if err := json.Unmarshal(ctx.Response.Body(), &answer); err != nil || len(answer.Items) != 1 {
		t.Fatalf("%s: %s: %v", body, ctx.Response.Body(), err)
	}
	return answer.Items[0]
}

// A long job holds a slot and a unit, commits what it used, and is gone for others.
func TestReal_reservations(t *testing.T) {
	d := real(t)
	reserve := `{"feature":"model-training","subject":{"user":"bob","team":"globex"},"id":"job-1","ttlMs":60000}`
	for range 2 { // sent again, it is the same one
		if status, s := talk(t, d, "reservations", reserve); status != 200 || !s.Allow || s.Reservation == nil || s.Reservation.ID != "job-1" {
			t.Fatalf("%d %+v", status, s)
		}
	}
	if _, s := talk(t, d, "reservations", strings.Replace(reserve, "job-1", "job-2", 1)); s.Reason != string(tiergate.UseConcurrency) || s.Reservation != nil {
		t.Errorf("a second job of a team with one slot: %+v", s)
	}
	if status, _ := talk(t, d, "reservations", strings.NewReplacer("globex", "acme", "bob", "alice").Replace(reserve)); status != 422 {
		t.Errorf("the id of another job: %d", status)
	}
	if status, s := talk(t, d, "reservations/job-1/commit", `{"actual":1}`); status != 200 || s.Reservation.State != "COMMITTED" {
		t.Errorf("commit: %d %+v", status, s)
	}
	for path, want := range map[string]int{"reservations/job-1/commit": 200, "reservations/job-1/release": 409, "reservations/job-9/commit": 404} {
		body := ""
		if want == 200 {
			body = `{"actual":1}`
		}
		if status, s := talk(t, d, path, body); status != want {
			t.Errorf("%s afterwards: %d %+v, want %d", path, status, s, want)
		}
	}
	if _, s := talk(t, d, "reservations", strings.Replace(reserve, "job-1", "job-3", 1)); !s.Allow {
		t.Errorf("the next job: %+v", s)
	}
}

// A team has no more seats than its tier.
func TestReal_gauges(t *testing.T) {
	d := real(t)
	seats := `{"feature":"seats","subject":{"team":"initech"},"item":"%s"}`
	for i := range 7 {
		_, s := talk(t, d, "gauges/add", fmt.Sprintf(seats, fmt.Sprint("u", i%6)))
		if allow := i%6 < 5; s.Allow != allow {
			t.Errorf("seat %d: %+v", i, s)
		}
	}
	if _, s := talk(t, d, "gauges/remove", fmt.Sprintf(seats, "u0")); !s.Allow {
		t.Errorf("a seat given back: %+v", s)
	}
	if _, s := talk(t, d, "gauges/add", fmt.Sprintf(seats, "u5")); !s.Allow {
		t.Errorf("the seat given back: %+v", s)
	}
	if _, s := talk(t, d, "gauges/replace", `{"feature":"seats","subject":{"team":"initech"},"items":["a","b"]}`); !s.Allow || s.Limits[0].Remaining.Min != 3 {
		t.Errorf("two seats of five: %+v", s)
	}
}

// Many callers at once, in batches and alone, get exactly as much as there is.
func TestReal_never_too_much(t *testing.T) {
	d := real(t)
	var mu sync.Mutex
	allowed := 0
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 4 {
				item := `{"feature":"exports","subject":{"user":"bob"}}`
				var ctx fasthttp.RequestCtx
				if n%2 == 0 {
					fill(&ctx, "/v1/consume", item)
				} else {
					fill(&ctx, "/v1/batch/consume", `{"items":[`+item+strings.Repeat(","+item, 2+i)+`]}`)
				}
				d.Handle(&ctx)
				mu.Lock()
				allowed += strings.Count(string(ctx.Response.Body()), `"allow":true`)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if allowed != 50 {
		t.Errorf("%d of 50 exports were allowed", allowed)
	}
}

// BenchmarkReal measures the door with the real gate, durable as it is on this machine's disk.
func BenchmarkReal(b *testing.B) {
	d := real(b)
	for _, path := range []string{"check", "consume"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				var ctx fasthttp.RequestCtx
				fill(&ctx, "/v1/"+path, `{"feature":"api-calls","subject":{"user":"alice","team":"acme"}}`)
				for pb.Next() {
					ctx.Response.Reset()
					d.Handle(&ctx)
				}
			})
		})
	}
}

// A reservation is its team's: others do not even learn that it is there.
func TestReal_reservations_of_another_team(t *testing.T) {
	keys := map[string]*tiergate.Key{}
	for _, team := range []string{"acme", "globex"} {
		keys[team] = &tiergate.Key{ID: team, TeamID: team, Scopes: []string{tiergate.ScopeConsume}}
	}
	d := realWith(t, func(cfg *decision.Config) {
		cfg.Credential = func(text string) (*tiergate.Key, error) { return keys[text], nil }
	})
	ask := func(team, path, body string) int {
		var ctx fasthttp.RequestCtx
		fill(&ctx, "/v1/"+path, body)
		ctx.Request.Header.Set("X-API-Key", team)
		d.Handle(&ctx)
		return ctx.Response.StatusCode()
	}
	if status := ask("globex", "reservations", `{"feature":"model-training","subject":{"team":"acme"},"id":"job-1"}`); status != 200 {
		t.Fatalf("reserve: %d", status)
	}
	for _, action := range []string{"extend", "commit", "release"} {
		if status := ask("acme", "reservations/job-1/"+action, ""); status != 404 {
			t.Errorf("another team may %s: %d", action, status)
		}
	}
	if status := ask("acme", "reservations", `{"feature":"model-training","id":"job-1"}`); status != 200 {
		t.Errorf("another team's own of the same id: %d", status)
	}
	if status := ask("globex", "reservations/job-1/commit", ""); status != 200 {
		t.Errorf("its own team may not commit: %d", status)
	}
	if status := ask("globex", "reservations", `{"feature":"model-training","subject":{"team":"acme"},"id":"job-1"}`); status != 409 {
		t.Errorf("the same again when it is committed: %d", status)
	}
}
