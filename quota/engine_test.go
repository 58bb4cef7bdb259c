package quota

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
)

// monthly is a claim on a team's monthly quota.
func monthly(t testing.TB, amount, units int64) Claim {
	t.Helper()
	cal, err := NewCalendar("month", "", "")
	if err != nil {
		t.Fatal(err)
	}
	return Claim{Key: "exports", Kind: tiergate.Quota, Scope: "team", Subject: "acme", Amount: amount, Rev: 1, Units: units, Period: "month", Calendar: &cal}
}

func take(claims ...Claim) *Take {
	return &Take{Claims: claims, TeamID: "acme", Feature: "exports", Units: 1}
}

// job is a take under the id of a reservation.
func job(id string, claims ...Claim) *Take {
	t := take(claims...)
	t.Key = &tiergate.UsageKey{Key: id, Fingerprint: "f"}
	return t
}

// open starts an engine over a ledger; it is closed when the test ends.
func open(t testing.TB, l *Memory, dir string) *Engine {
	t.Helper()
	e, err := Open(Options{Ledger: l, Reservations: l, Gauges: l, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Five units let five uses through, and the sixth hears that nothing is left.
func TestEngine_admits_what_the_limit_allows(t *testing.T) {
	e := open(t, &Memory{}, t.TempDir())
	for i := range 7 {
		out, states, err := e.Consume(t.Context(), take(monthly(t, 5, 1)), nil)
		if err != nil {
			t.Fatal(err)
		}
		want := tiergate.UseAllowed
		if i >= 5 {
			want = tiergate.UseExhausted
		}
		if out.Reason != want || states[0].Min != max(0, 4-int64(i)) || !states[0].Exact {
			t.Errorf("use %d: %v, left %+v", i, out, states[0])
		}
		if want == tiergate.UseExhausted && (out.Denied != 0 || out.RetryAfter <= 0) {
			t.Errorf("use %d: %+v names no limit or no time", i, out)
		}
	}
}

// Four processes and many callers share a limit: together they get all of it and not a unit
// more, though each holds some while others lack them.
func TestEngine_shares_a_limit_exactly(t *testing.T) {
	const amount = 2_000
	var ledger Memory
	var admitted atomic.Int64
	var callers sync.WaitGroup
	for range 4 {
		e := open(t, &ledger, t.TempDir())
		for range 8 {
			callers.Go(func() {
				for {
					out, _, err := e.Consume(t.Context(), take(monthly(t, amount, 1)), nil)
					switch {
					case err != nil:
						t.Error(err)
						return
					case out.Reason == tiergate.UseAllowed:
						admitted.Add(1)
					case out.Reason == tiergate.UseExhausted:
						return
					case out.Reason == tiergate.UseContended:
						time.Sleep(20 * time.Millisecond)
					default:
						t.Errorf("%+v", out)
						return
					}
				}
			})
		}
	}
	callers.Wait()
	if admitted.Load() != amount {
		t.Errorf("%d of %d were admitted", admitted.Load(), amount)
	}
}

func BenchmarkAdmit(b *testing.B) {
	e := open(b, &Memory{}, b.TempDir())
	u := take(monthly(b, tiergate.MaxAmount, 1))
	if out, _, _ := e.Consume(b.Context(), u, nil); out.Reason != tiergate.UseAllowed {
		b.Fatal(out)
	}
	states := make([]tiergate.LimitState, 0, 4)
	b.Run("admit", func(b *testing.B) {
		b.ReportAllocs()
		d := drafts.Get().(*draft)
		for b.Loop() {
			d.spends = d.spends[:0]
			if out := e.admit(b.Context(), u, d); out.Reason != tiergate.UseAllowed {
				b.Fatal(out)
			}
		}
	})
	b.Run("consume", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var out Outcome
			if out, states, _ = e.Consume(b.Context(), u, states[:0]); out.Reason != tiergate.UseAllowed {
				b.Fatal(out)
			}
		}
	})
}

// A counter that nobody used for a while is forgotten here. Used again, it goes on where it
// was: what is handed out is set aside in the ledger, and the limit is what it was.
func TestEngine_goes_on_where_a_forgotten_counter_was(t *testing.T) {
	ledger := &Memory{}
	e := open(t, ledger, t.TempDir())
	c := monthly(t, 100, 1)
	admitted := 0
	for round := range 3 {
		for range 10 {
			if r := reasonOf(t, e, take(c)); r != tiergate.UseAllowed {
				t.Fatalf("in round %d a use is %s", round, r)
			}
			admitted++
		}
		eventuallyIs(t, "the counter is forgotten", func() bool {
			if a := e.known(&c); a != nil { // as if an hour had passed
				a.mu.Lock()
				a.usedAt = e.now() - int64(time.Hour)
				a.mu.Unlock()
			}
			e.sweep(e.now())
			return e.Stats().Leases == 0
		})
		if b := bucketOf(t, ledger); b.used != int64(admitted) || b.leased != 0 {
			t.Errorf("after %d uses %d are used and %d leased", admitted, b.used, b.leased)
		}
	}
	if admitted += useUp(t, e, c); admitted != 100 {
		t.Errorf("%d of 100 were admitted", admitted)
	}
}
