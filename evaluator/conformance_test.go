package evaluator_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/internal/flagd"
	"github.com/tiergate/tiergate/internal/flagd/flagdtest"
	"github.com/tiergate/tiergate/quota"
)

// The demo data leads to the decisions that were worked out by hand.
func TestEngine_decides_as_worked_out_by_hand(t *testing.T) {
	e := demo(t)
	conformance.Run(t, func(t *testing.T, c conformance.Case) conformance.Answer {
		context, err := json.Marshal(c.Context)
		if err != nil {
			t.Fatal(err)
		}
		d := ask(t, e, c.Flag, string(context))
		a := conformance.Answer{
			Variant: d.Variant, Reason: string(d.Reason), ErrorCode: string(d.ErrorCode),
			Tier: d.Tier, Denied: d.Denied, Upgrade: d.Upgrade,
		}
		if d.Value != nil {
			if err := json.Unmarshal(d.Value, &a.Value); err != nil {
				t.Fatal(err)
			}
		}
		return a
	})
}

// What limits come to is what was worked out by hand.
func TestGate_counts_as_worked_out_by_hand(t *testing.T) {
	conformance.RunUses(t, func(t *testing.T) func(conformance.UseStep) conformance.UseAnswer {
		g, c := demoGate(t)
		return conformance.ThroughGate(t, g, c.Now())
	})
}

// The quota engine over a ledger in memory comes to the same.
func TestGate_with_the_quota_engine_counts_as_worked_out_by_hand(t *testing.T) {
	e := demo(t)
	conformance.RunUses(t, func(t *testing.T) func(conformance.UseStep) conformance.UseAnswer {
		return conformance.ThroughGate(t, evaluator.NewGate(e, counting(t)), time.Now())
	})
}

// counting is a quota engine of its own, closed when the test ends.
func counting(tb testing.TB) *quota.Engine {
	tb.Helper()
	ledger := new(quota.Memory)
	e, err := quota.Open(quota.Options{Ledger: ledger, Reservations: ledger, Gauges: ledger, Dir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			tb.Error(err)
		}
	})
	return e
}

// A flagd flag file gives the answers that npm flagd-core gives.
func TestEngine_answers_as_flagd_core(t *testing.T) {
	flagdtest.Run(t, func(t *testing.T, file []byte) func(flagdtest.Question) flagdtest.Answer {
		f, err := flagd.Parse(file)
		if err != nil {
			t.Fatal(err)
		}
		var changes []tiergate.Change
		for i := range f.Sets {
			changes = append(changes, tiergate.PutOf(&f.Sets[i]))
		}
		for i := range f.Flags {
			if f.Flags[i].ID == "" {
				f.Flags[i].ID = f.Flags[i].Name
			}
			changes = append(changes, tiergate.PutOf(&f.Flags[i]))
		}
		e := newEngine(evaluator.Options{})
		apply(t, e, whole(1, changes...))
		return func(q flagdtest.Question) flagdtest.Answer {
			d := askAt(t, e, q.Flag, string(q.Context), time.Unix(q.Now, 0))
			return flagdtest.Answer{Variant: d.Variant, Value: d.Value, Reason: string(d.Reason), ErrorCode: string(d.ErrorCode)}
		}
	})
}
