//go:build !race

// The race detector makes pools forget at random, so that nothing can be said about allocations.

package evaluator_test

import (
	"context"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/quota"
)

// open is a Counter that lets everything through and writes one state per claim: what the
// Gate costs without one.
type open struct{ *counter }

func (open) Check(_ context.Context, t *quota.Take, states []tiergate.LimitState) (quota.Outcome, []tiergate.LimitState) {
	for i := range t.Claims {
		c := &t.Claims[i]
		states = append(states, tiergate.LimitState{Key: c.Key, Kind: c.Kind, Period: c.Period, Amount: c.Amount, Min: c.Amount, Max: c.Amount, Exact: true})
	}
	return quota.Outcome{Reason: tiergate.UseAllowed, Denied: -1, ID: [16]byte{1}}, states
}

func (o open) Consume(ctx context.Context, t *quota.Take, states []tiergate.LimitState) (quota.Outcome, []tiergate.LimitState, error) {
	outcome, states := o.Check(ctx, t, states)
	return outcome, states, nil
}

func (open) Deny(*quota.Take, tiergate.UseReason) {}

// uses are the ways through the Gate that promise not to allocate.
func uses(tb testing.TB) (*evaluator.Gate, map[string]*tiergate.Use) {
	amount := int64(7)
	e := demo(tb,
		tiergate.PutOf(&tiergate.Override{ID: "o", UserID: "ivan", LimitKey: "exports-daily", Amount: &amount, ExpiresAt: now.Add(time.Hour)}),
		tiergate.PutOf(&tiergate.Grant{ID: "g", UserID: "ivan", LimitKey: "exports-daily", Amount: 5}))
	attributes := value(tb, `{"targetingKey":"bob","plan":"gold","age":33,"country":"CH"}`)
	room := new(tiergate.Room)
	ask := func(feature, user string) *tiergate.Use {
		return &tiergate.Use{Request: tiergate.Request{Flag: feature, UserID: user, Attributes: attributes, Now: now}, Room: room}
	}
	keyed := ask("exports", "bob")
	keyed.IdempotencyKey, keyed.Fingerprint, keyed.Cost = "k", "f", 2
	return evaluator.NewGate(e, open{newCounter()}), map[string]*tiergate.Use{
		"one_quota":         ask("exports", "bob"),
		"one_quota_keyed":   keyed,
		"flag_and_limits":   ask("model-training", "bob"),
		"flag_alone":        ask("api-access", "bob"),
		"exceptions":        ask("exports", "ivan"),
		"unlimited":         ask("exports", "alice"),
		"denied_by_tier":    ask("white-label", "bob"),
		"without_a_team":    ask("api-calls", "carol"),
		"neither_of_both":   ask("no-such-feature", "bob"),
		"an_unknown_user":   ask("exports", "mallory"),
		"switched_off_flag": ask("legacy-export", "bob"),
	}
}

// No way through the Gate allocates, besides what the Counter does.
func TestGate_does_not_allocate(t *testing.T) {
	gate, all := uses(t)
	for name, u := range all {
		for verb, ask := range map[string]func(context.Context, *tiergate.Use) (tiergate.Verdict, error){"check": gate.Check, "consume": gate.Consume} {
			var v tiergate.Verdict
			var err error
			if n := testing.AllocsPerRun(200, func() { v, err = ask(t.Context(), u) }); n != 0 || err != nil {
				t.Errorf("%s %s allocates %v times for %+v, %v", verb, name, n, v, err)
			}
		}
	}
}

func BenchmarkGate(b *testing.B) {
	gate, all := uses(b)
	for name, u := range all {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			ctx := b.Context()
			for b.Loop() {
				if v, err := gate.Consume(ctx, u); err != nil || v.ID == "" {
					b.Fatal(v, err)
				}
			}
		})
	}
}

// What is left of one quota, as the quota engine of this process knows it.
func BenchmarkGate_check_with_the_quota_engine(b *testing.B) {
	gate := evaluator.NewGate(demo(b), counting(b))
	u := &tiergate.Use{Request: tiergate.Request{Flag: "exports", UserID: "bob"}, Room: new(tiergate.Room)}
	if v, err := gate.Consume(b.Context(), u); err != nil || !v.Allow {
		b.Fatal(v, err)
	}
	hurried, ctx := gate.Hurried(), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if v, err := hurried.Check(ctx, u); err != nil || !v.Allow || len(v.Limits) != 1 {
			b.Fatal(v, err)
		}
	}
}
