package quota

import (
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
