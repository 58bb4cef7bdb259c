package quota

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
)

// movedClock is a ledger whose clock is off the machine's by what a test says.
func movedClock() (*Memory, *atomic.Int64) {
	var off atomic.Int64
	return &Memory{Now: func() time.Time { return time.Now().Add(time.Duration(off.Load())) }}, &off
}

// The machine's clock is wrong by months. The ledger's says which period it is, from the
// first use on.
func TestEngine_counts_by_the_ledgers_clock(t *testing.T) {
	for _, days := range []int{-400, -40, 40, 400} {
		ledger, off := movedClock()
		off.Store(int64(time.Duration(days) * 24 * time.Hour))
		e := open(t, ledger, t.TempDir())
		c := monthly(t, 5, 1)
		if n := useUp(t, e, c); n != 5 {
			t.Errorf("with a clock that is %d days off, %d of 5 were admitted", days, n)
		}
		ledger.mu.Lock()
		for key, b := range ledger.buckets {
			if want := c.Calendar.At(ledger.now()).ID; b.leased+b.used > 0 && key.Period != want {
				t.Errorf("with a clock that is %d days off, %s was counted, want %s", days, key.Period, want)
			}
		}
		ledger.mu.Unlock()
	}
}

// When a period ends, what was held of it is not spent in the next, which begins with all of
// its units.
func TestEngine_begins_each_period_anew(t *testing.T) {
	ledger, off := movedClock()
	e := open(t, ledger, t.TempDir())
	c := monthly(t, 40, 1)
	if r := reasonOf(t, e, take(c)); r != tiergate.UseAllowed {
		t.Fatal(r)
	}
	if e.Stats().Held == 0 {
		t.Fatal("nothing is held of the old period")
	}
	off.Store(int64(32 * 24 * time.Hour))
	e.wake() // the ledger is heard, as it is each second
	eventuallyIs(t, "the next month has begun here", func() bool { return c.Calendar.At(e.Now()).Start.After(time.Now()) })
	if n := useUp(t, e, c); n != 40 {
		t.Errorf("%d of 40 were admitted in the new month", n)
	}
	eventuallyIs(t, "each month has its own usage", func() bool {
		ledger.mu.Lock()
		defer ledger.mu.Unlock()
		used := map[int64]int{}
		for _, n := range ledger.usage {
			used[n]++
		}
		return used[1] == 1 && used[40] == 1
	})
}

// The ledger's clock is set back and forth while uses go on. Each month admits at most what
// it allows.
func TestEngine_when_the_ledgers_clock_is_set(t *testing.T) {
	ledger, off := movedClock()
	e := open(t, ledger, t.TempDir())
	c := monthly(t, 30, 1)
	use := func() bool {
		switch r := reasonOf(t, e, take(c)); r {
		case tiergate.UseAllowed, tiergate.UseExhausted, tiergate.UseContended:
		default:
			t.Fatal(r)
		}
		return e.Now().Sub(ledger.now()).Abs() < time.Hour
	}
	for _, days := range []int{40, -40, 1, 0, 40, 80} {
		off.Store(int64(time.Duration(days) * 24 * time.Hour))
		eventuallyIs(t, "the clock that was set is heard", use)
		for range 50 {
			use()
		}
	}
	eventuallyIs(t, "all usage has arrived", func() bool { return e.Stats().Spool.Records == 0 })
	ledger.mu.Lock()
	defer ledger.mu.Unlock()
	for key, b := range ledger.buckets {
		if b.used > 30 || b.used != ledger.usage[key] {
			t.Errorf("%s: used %d, usage %d, of 30", key.Period, b.used, ledger.usage[key])
		}
	}
	if len(ledger.usage) < 4 {
		t.Errorf("only %d months were used", len(ledger.usage))
	}
}

// A process that only reserves has leased nothing and heard nothing, and its clock is off by
// an hour or by months. What it reserves counts in the period that it is by the ledger's
// clock, and so does what it reserves after the ledger's clock was set.
func TestEngine_reserves_by_the_ledgers_clock(t *testing.T) {
	hourly, err := NewCalendar("hour", "", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, hours := range []int{-9000, -1, 1, 9000} {
		ledger, off := movedClock()
		e := open(t, ledger, t.TempDir())
		for i, id := range []string{"first", "second"} {
			off.Store(int64(time.Duration(hours*(i+1)) * time.Hour))
			c := monthly(t, 5, 5)
			c.Period, c.Calendar = "hour", &hourly
			out, r, states, err := e.Reserve(t.Context(), job(id, c), time.Minute, nil)
			if err != nil || out.Reason != tiergate.UseAllowed {
				t.Fatalf("%d hours off, the %s: %+v %v", hours, id, out, err)
			}
			if want := hourly.At(ledger.now()).ID; r.Holds[0].Bucket.Period != want {
				t.Errorf("%d hours off, the %s counts in %s, want %s", hours, id, r.Holds[0].Bucket.Period, want)
			}
			if apart := states[0].AsOf.Sub(ledger.now()).Abs(); states[0].Min != 0 || apart > time.Minute {
				t.Errorf("%d hours off, after the %s: %+v", hours, id, states[0])
			}
		}
	}
}

// While the ledger learns what others hold, nobody can say whether there is room: that is
// not the same as a limit that is used up, and the answer says why.
func TestEngine_says_why_it_cannot_reserve(t *testing.T) {
	ledger := &Memory{}
	e := open(t, ledger, t.TempDir())
	if _, err := ledger.Peek(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	ledger.Failover()
	out, _, _, err := e.Reserve(t.Context(), job("job", monthly(t, 5, 1)), time.Minute, nil)
	if err != nil || out.Reason != tiergate.UseUnavailable || out.Denied != -1 || out.RetryAfter <= 0 {
		t.Errorf("%+v %v", out, err)
	}
	if want := "The ledger has lost its newest history and holds nothing until it has heard from everybody"; out.Message != want {
		t.Errorf("it says %q, want %q", out.Message, want)
	}
}

// A ledger that says of every period that it is another one is asked twice, not for ever.
func TestEngine_asks_twice_for_the_period(t *testing.T) {
	asked := 0
	e := open(t, &Memory{}, t.TempDir())
	e.options.Reservations = reserveFunc(func(r tiergate.Reservation) (tiergate.Reservation, error) {
		asked++
		return tiergate.Reservation{}, &tiergate.NotNowError{Bucket: r.Holds[0].Bucket, Now: time.Now(), OutOfPeriod: true}
	})
	out, _, _, err := e.Reserve(t.Context(), job("job", monthly(t, 5, 1)), time.Minute, nil)
	if err != nil || out.Reason != tiergate.UseUnavailable || asked != 2 {
		t.Errorf("asked %d times: %+v %v", asked, out, err)
	}
	if want := "The limit exports is in another period by the ledger's clock"; out.Message != want {
		t.Errorf("it says %q, want %q", out.Message, want)
	}
}

// reserveFunc is a ledger that does nothing but reserve.
type reserveFunc func(tiergate.Reservation) (tiergate.Reservation, error)

func (f reserveFunc) Reserve(_ context.Context, r tiergate.Reservation, _ time.Duration) (tiergate.Reservation, error) {
	return f(r)
}

func (reserveFunc) Extend(context.Context, string, tiergate.Owner, time.Duration) (tiergate.Reservation, error) {
	panic("not asked")
}

func (reserveFunc) Commit(context.Context, string, tiergate.Owner, int64, bool) (tiergate.Reservation, error) {
	panic("not asked")
}

func (reserveFunc) Release(context.Context, string, tiergate.Owner) (tiergate.Reservation, error) {
	panic("not asked")
}

func (reserveFunc) Reservation(context.Context, string, tiergate.Owner) (tiergate.Reservation, error) {
	panic("not asked")
}
