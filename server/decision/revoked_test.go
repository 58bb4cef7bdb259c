package decision_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server/decision"
)

// arriving is an evaluator at revision 7, and from its fourth look on at the next.
type arriving struct{ looks atomic.Int64 }

func (a *arriving) arrived() bool { return a.looks.Load() > 3 }

func (a *arriving) Generation() tiergate.Generation {
	if a.looks.Add(1); a.arrived() {
		return inForce{&tiergate.Resume{Epoch: resume.Epoch, Rev: resume.Rev + 1}}
	}
	return inForce{&resume}
}

// A caller waits for a revision, which revokes the key that was good when the request came: what was
// asked for is not taken.
func TestPrepare_takes_nothing_for_a_key_that_was_revoked_meanwhile(t *testing.T) {
	const demand = "01234567-8"
	withKey := func(a *arriving, g *gate) decision.Config {
		return decision.Config{Evaluator: a, Gate: g, Now: func() time.Time { return now }, Credential: func(text string) (*tiergate.Key, error) {
			if text == "good" || text == "revoked" && !a.arrived() {
				return &tiergate.Key{ID: text, TeamID: "acme", Scopes: []string{tiergate.ScopeConsume}}, nil
			}
			return nil, tiergate.Errorf(tiergate.Unauthorized, "no")
		}}
	}
	overHTTP := func(t *testing.T, key string, g *gate) int {
		addr, _ := serve(t, func(cfg *decision.Config) { *cfg = withKey(&arriving{}, g) })
		return ask(t, addr, post("/v1/consume", `{"feature":"x"}`, "X-API-Key: "+key, "Tiergate-Min-Revision: "+demand)).status
	}
	overRPC := func(t *testing.T, key string, g *gate) int {
		url := "http://" + listenRPC(t, withKey(&arriving{}, g)) + "/tiergate.v1.DecisionService/Consume"
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"question":{"feature":"x"}}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Content-Type": {"application/json"}, "X-Api-Key": {key}, "Tiergate-Min-Revision": {demand}}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for door, ask := range map[string]func(*testing.T, string, *gate) int{"HTTP": overHTTP, "gRPC": overRPC} {
		for key, want := range map[string]int{"good": 200, "revoked": 401} {
			g := &gate{say: answers}
			if got := ask(t, key, g); got != want || (len(g.uses) > 0) != (want == 200) {
				t.Errorf("over %s, a key that is %s: %d, and %q was asked", door, key, got, g.uses)
			}
		}
	}
}
