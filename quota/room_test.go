package quota

import (
	"testing"

	"github.com/tiergate/tiergate"
)

// Nobody can be asked how many slots or seats are taken: then the limit says what happens, as
// it does while the ledger is away. Nothing of them is handed out beforehand, so that
// allowUpTo has nothing to let through.
func TestEngine_without_gauges_does_what_the_limit_says(t *testing.T) {
	e, err := Open(Options{Ledger: &Memory{}, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	for _, kind := range []tiergate.LimitKind{tiergate.Concurrency, tiergate.Gauge} {
		for fallback, want := range map[tiergate.Fallback]tiergate.UseReason{
			{}:            tiergate.UseUnavailable,
			{UpTo: 5}:     tiergate.UseUnavailable,
			{Allow: true}: tiergate.UseAllowed,
		} {
			u := take(Claim{Key: "jobs", Kind: kind, Scope: "team", Subject: "acme", Amount: 5, Rev: 1, Units: 1, Fallback: fallback})
			if got := reasonOf(t, e, u); got != want {
				t.Errorf("a use of a %s with %+v is %s, want %s", kind, fallback, got, want)
			}
			if got, _ := e.Check(t.Context(), u, nil); got.Reason != want {
				t.Errorf("a check of a %s with %+v is %s, want %s", kind, fallback, got.Reason, want)
			}
		}
	}
}
