package evaluator_test

import (
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
)

// A use was taken, its answer got lost, and then the flag was switched off. Asked again under
// the same key, it was taken: what happened cannot be denied any more.
func TestGate_replays_what_was_taken_before_the_flag_was_switched_off(t *testing.T) {
	e := demo(t, boolean("exports", nil))
	g := evaluator.NewGate(e, counting(t))
	keyed := func() *tiergate.Use {
		u := use("exports", "carol", "")
		u.IdempotencyKey, u.Fingerprint = "k", "f"
		return u
	}
	first := consume(t, g, keyed())
	if !first.Allow || first.Replayed {
		t.Fatalf("%+v", first)
	}
	apply(t, e, step(2, boolean("exports", func(f *tiergate.Flag) { f.Enabled = false })))
	if again := consume(t, g, keyed()); !again.Allow || !again.Replayed || again.ID != first.ID || again.Message != "" {
		t.Errorf("again: %+v", again)
	}
	other := keyed()
	other.Fingerprint = "of another call"
	if _, err := g.Consume(t.Context(), other); tiergate.CodeOf(err) != tiergate.KeyReused {
		t.Errorf("another call under the key: %v", err)
	}
	fresh := keyed()
	fresh.IdempotencyKey = "another"
	if v := consume(t, g, fresh); v.Allow || v.Reason != tiergate.UseDisabled {
		t.Errorf("a new call: %+v", v)
	}
}
