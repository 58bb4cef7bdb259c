package quota

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

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

// A request's memory is used again for the next request. What the ledger keeps of one, a
// reservation and what is held of a gauge, is its own.
func TestEngine_leaves_the_ledger_nothing_of_a_request(t *testing.T) {
	ledger := &Memory{}
	e := open(t, ledger, t.TempDir())
	memory := []byte("id fingerprint acme alice exports {}")
	part := func(s string) string { return unsafe.String(&memory[strings.Index(string(memory), s)], len(s)) }
	limit := monthly(t, 5, 1)
	limit.Subject = part("acme")
	seats := Claim{Key: "seats", Kind: tiergate.Gauge, Scope: "team", Subject: part("acme"), Amount: 5, Units: 1}
	u := &Take{
		Claims: []Claim{limit}, TeamID: part("acme"), UserID: part("alice"), Feature: part("exports"), Units: 1,
		Metadata: memory[len(memory)-2:], Key: &tiergate.UsageKey{Key: part("id"), Fingerprint: part("fingerprint")},
	}
	out, held, _, err := e.Reserve(t.Context(), u, time.Minute, nil)
	if err != nil || out.Reason != tiergate.UseAllowed {
		t.Fatal(out, err)
	}
	if _, err := e.Hold(t.Context(), &seats, "a"); err != nil {
		t.Fatal(err)
	}
	copy(memory, strings.Repeat("!", len(memory)))
	now, err := e.Reservation(t.Context(), "id", "")
	if diff := cmp.Diff(held, now); err != nil || diff != "" || now.TeamID != "acme" || now.Holds[0].Bucket.Subject != "acme" || string(now.Metadata) != "{}" {
		t.Errorf("%v, %+v, mismatch (-as made +as kept):\n%s", err, now, diff)
	}
	for b := range ledger.buckets {
		if b.Subject != "acme" {
			t.Errorf("there is a bucket %+v", b)
		}
	}
}
