package conformance

import (
	_ "embed"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
)

//go:embed uses.json
var usesJSON []byte

// A UseCase is what happens to the limits of the demo data when somebody begins with none of
// them used.
type UseCase struct {
	Story string    `json:"story"` // what happens, as a sentence
	Steps []UseStep `json:"steps"`
}

// A UseStep is one call, made once or several times.
type UseStep struct {
	Do      string    `json:"do"` // "check", "consume" or "track"
	Feature string    `json:"feature"`
	User    string    `json:"user"`
	Team    string    `json:"team"`
	Cost    int64     `json:"cost"`
	Times   int       `json:"times"` // 0 is once; each has the same answer but for what is left
	Want    UseAnswer `json:"want"`  // of the last
}

// A UseAnswer is what a door says. Tier and Upgrade stay empty where there are none.
type UseAnswer struct {
	Reason  string           `json:"reason"`
	Status  int              `json:"status"`
	Tier    string           `json:"tier"`
	Upgrade string           `json:"upgrade"`
	Denied  string           `json:"denied"` // the limit that denied
	Left    map[string]int64 `json:"left"`   // of limits, as far as the case says
}

// UseCases returns the table.
func UseCases() []UseCase {
	var cases []UseCase
	if err := json.Unmarshal(usesJSON, &cases); err != nil {
		panic("tiergate: bug: uses.json: " + err.Error())
	}
	return cases
}

// RunUses asks every case. A door makes a new world over the demo data, in which nothing was
// used, and returns what asks in it.
func RunUses(t *testing.T, door func(t *testing.T) func(UseStep) UseAnswer) {
	t.Helper()
	for _, c := range UseCases() {
		t.Run(strings.ReplaceAll(strings.TrimSuffix(c.Story, "."), " ", "_"), func(t *testing.T) {
			ask := door(t)
			for i, s := range c.Steps {
				var got UseAnswer
				for range max(s.Times, 1) {
					got = ask(s)
					if got.Reason != s.Want.Reason {
						break
					}
				}
				for limit := range got.Left {
					if _, told := s.Want.Left[limit]; !told {
						delete(got.Left, limit)
					}
				}
				if len(got.Left) == 0 {
					got.Left = nil
				}
				if diff := cmp.Diff(s.Want, got); diff != "" {
					t.Errorf("%s\nstep %d, %s %s by user %q and team %q (-want +got):\n%s", c.Story, i+1, s.Do, s.Feature, s.User, s.Team, diff)
				}
			}
		})
	}
}

// ThroughGate asks a Gate whose counter nobody else counts with, so that the most that may be
// left is what is left.
func ThroughGate(t *testing.T, g tiergate.Gate, now time.Time) func(UseStep) UseAnswer {
	t.Helper()
	return func(s UseStep) UseAnswer {
		u := &tiergate.Use{Request: tiergate.Request{Flag: s.Feature, UserID: s.User, TeamID: s.Team, Now: now}, Cost: s.Cost}
		ask := g.Check
		switch s.Do {
		case "consume":
			ask = g.Consume
		case "track":
			ask = g.Track
		}
		v, err := ask(t.Context(), u)
		if err != nil {
			t.Fatalf("%s %s: %v", s.Do, s.Feature, err)
		}
		a := UseAnswer{
			Reason: string(v.Reason), Status: v.Reason.Status(), Tier: v.Decision.Tier, Upgrade: v.Decision.Upgrade, Denied: v.Denied,
			Left: map[string]int64{},
		}
		for _, l := range v.Limits {
			a.Left[l.Key] = l.Max
		}
		return a
	}
}
