package flagsync_test

import (
	"maps"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/server/flagdapi/flagsync"
	"github.com/tiergate/tiergate/server/flagdapi/flagsync/flagsynctest"
)

// engine is the real evaluator over the demo data.
func engine(tb testing.TB, more ...tiergate.Change) *evaluator.Engine {
	tb.Helper()
	e := evaluator.New(evaluator.Options{})
	apply(tb, e, 7, append(conformance.Demo(), more...)...)
	return e
}

// apply puts a revision in force, the first one as a whole state.
func apply(tb testing.TB, e *evaluator.Engine, rev int64, changes ...tiergate.Change) {
	tb.Helper()
	err := e.Apply(tb.Context(), tiergate.Revision{
		Resume: tiergate.Resume{Epoch: "0123456789abcdef", Rev: rev}, Whole: e.Current() == nil, Changes: tiergate.ChangesOf(changes...),
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// The official provider, deciding in process, answers on the demo data what every door
// answers, once the context names the tier; and it is told of a change.
func TestConformance_in_process_of_the_npm_provider(t *testing.T) {
	e := engine(t, inSet("web"))
	addr, _ := serve(t, flagsync.Config{Exporter: e})
	var cases []flagsynctest.Case
	exceptions := 0
	for _, c := range conformance.Cases() {
		if c.Want.Tier != "" { // what the application knows
			c.Context = maps.Clone(c.Context)
			c.Context["tier"] = c.Want.Tier
		}
		want := flagsynctest.Want{Value: c.Want.Value, Variant: c.Want.Variant, Reason: c.Want.Reason, ErrorCode: c.Want.ErrorCode}
		if c.Flag == "custom-reports" && c.Want.Variant == "on" && c.Want.Tier == "free" {
			exceptions++ // a team's exceptions are not in the document: less is right
			want.Value, want.Variant = false, "off"
		}
		cases = append(cases, flagsynctest.Case{Story: c.Story, Flag: c.Flag, Context: c.Context, Want: want})
	}
	if exceptions != 1 {
		t.Errorf("%d cases are exceptions of a team, want 1", exceptions)
	}
	notFound := flagsynctest.Want{Reason: "ERROR", ErrorCode: "FLAG_NOT_FOUND"}
	cases = append(cases,
		flagsynctest.Case{Story: "A flag of another set.", Set: "web", Flag: "only-here", Want: flagsynctest.Want{Value: true, Variant: "on", Reason: "STATIC"}},
		flagsynctest.Case{Story: "It is in no other set.", Flag: "only-here", Want: notFound},
		flagsynctest.Case{Story: "No other set's flags are in it.", Set: "web", Flag: "new-dashboard", Want: notFound},
	)
	flagsynctest.Run(t, addr, cases, func() {
		flag := *e.Current().View().Flag(tiergate.DefaultSet, cases[0].Flag)
		flag.Enabled = false
		apply(t, e, 8, tiergate.PutOf(&flag))
	})
}

// inSet is a change that puts a flag for everybody into a set.
func inSet(set string) tiergate.Change {
	return tiergate.PutOf(&tiergate.Flag{
		ID: set + "-1", Set: set, Name: "only-here", Type: tiergate.Boolean, Enabled: true, DefaultVariant: "on", OffVariant: "off",
		Variants: nil, Rules: tiergate.Rules{Tiers: []string{}, Percentage: 100},
	})
}
