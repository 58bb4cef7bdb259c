package quota

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tiergate/tiergate"
)

// A reservation whose answer got lost is asked for again: it is the same one, and takes no more
// of the rate. When it is settled, asking again says what became of it, and takes nothing either.
func TestEngine_reserves_once(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := open(t, &Memory{}, t.TempDir())
		rate := Claim{Key: "calls", Kind: tiergate.Rate, Scope: "team", Subject: "acme", Amount: 2, Burst: 2, Units: 1, Period: "minute"}
		ask := func(id string) (Outcome, tiergate.Reservation, tiergate.Code) {
			t.Helper()
			out, r, _, err := e.Reserve(t.Context(), job(id, rate, monthly(t, 5, 1)), time.Second, nil)
			return out, r, tiergate.CodeOf(err)
		}
		if out, r, code := ask("a"); code != "" || out.Reason != tiergate.UseAllowed || out.Replayed || r.Replayed {
			t.Fatalf("the first: %+v, %+v, %s", out, r, code)
		}
		for range 3 {
			if out, r, code := ask("a"); code != "" || out.Reason != tiergate.UseAllowed || !out.Replayed || r.ID != "a" || r.State != tiergate.ReservationHeld {
				t.Errorf("the same again: %+v, %+v, %s", out, r, code)
			}
		}
		if n := e.Stats().Accepted; n != 1 {
			t.Errorf("%d uses were accepted", n)
		}
		if _, err := e.Release(t.Context(), "a", ""); err != nil {
			t.Fatal(err)
		}
		if _, _, code := ask("a"); code != tiergate.Conflict {
			t.Errorf("after its release: %q", code)
		}
		if out, _, code := ask("b"); code != "" || out.Reason != tiergate.UseAllowed {
			t.Errorf("what is left of the rate: %+v, %s", out, code)
		}
		time.Sleep(time.Minute)
		if _, _, code := ask("b"); code != tiergate.Gone {
			t.Errorf("after its time: %q", code)
		}
	})
}
