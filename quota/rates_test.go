package quota_test

import (
	"math/big"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota"
)

const (
	ms     = int64(time.Millisecond)
	second = int64(time.Second)
)

func perSecond(amount, burst int64) quota.Rate {
	return quota.Rate{Amount: amount, Period: "second", Burst: burst, Share: quota.Whole}
}

// A step is one take at a time, and what it must say.
type step struct {
	at, cost int64
	rate     quota.Rate
	ok       bool
	want     quota.RateState
}

// A rate lets its burst through at once and then its amount, and says what is left and when
// to come again.
func TestRates_Take(t *testing.T) {
	ten := perSecond(10, 3)
	half := quota.Rate{Amount: 10, Period: "second", Burst: 4, Share: 500_000}
	for name, steps := range map[string][]step{
		"the burst, then one each 100 ms": {
			{0, 1, ten, true, quota.RateState{Remaining: 2, ResetsIn: 100 * time.Millisecond}},
			{0, 2, ten, true, quota.RateState{Remaining: 0, ResetsIn: 300 * time.Millisecond}},
			{0, 1, ten, false, quota.RateState{Remaining: 0, RetryAfter: 100 * time.Millisecond, ResetsIn: 300 * time.Millisecond}},
			{100*ms - 1, 1, ten, false, quota.RateState{Remaining: 0, RetryAfter: 1, ResetsIn: 200*time.Millisecond + 1}},
			{100 * ms, 1, ten, true, quota.RateState{Remaining: 0, ResetsIn: 300 * time.Millisecond}},
		},
		"a refusal takes nothing": {
			{0, 2, ten, true, quota.RateState{Remaining: 1, ResetsIn: 200 * time.Millisecond}},
			{0, 2, ten, false, quota.RateState{Remaining: 1, RetryAfter: 100 * time.Millisecond, ResetsIn: 200 * time.Millisecond}},
			{0, 1, ten, true, quota.RateState{Remaining: 0, ResetsIn: 300 * time.Millisecond}},
		},
		"more than the burst never fits": {
			{0, 4, ten, false, quota.RateState{Remaining: 3, RetryAfter: quota.Never}},
			{3600 * second, 4, ten, false, quota.RateState{Remaining: 3, RetryAfter: quota.Never}},
		},
		"less than nothing never fits": {{0, -1, ten, false, quota.RateState{Remaining: 3, RetryAfter: quota.Never}}},
		"nothing always fits": {
			{0, 3, ten, true, quota.RateState{Remaining: 0, ResetsIn: 300 * time.Millisecond}},
			{0, 0, ten, true, quota.RateState{Remaining: 0, ResetsIn: 300 * time.Millisecond}},
		},
		"a rate of nothing":  {{0, 1, perSecond(0, 3), false, quota.RateState{RetryAfter: quota.Never, ResetsIn: quota.Never}}},
		"a share of nothing": {{0, 1, quota.Rate{Amount: 10, Period: "second", Burst: 3}, false, quota.RateState{RetryAfter: quota.Never, ResetsIn: quota.Never}}},
		"no such period":     {{0, 1, quota.Rate{Amount: 10, Period: "day", Burst: 3, Share: quota.Whole}, false, quota.RateState{RetryAfter: quota.Never, ResetsIn: quota.Never}}},
		"a negative rate":    {{0, 1, perSecond(-1, 3), false, quota.RateState{RetryAfter: quota.Never, ResetsIn: quota.Never}}},
		"no burst is one":    {{0, 1, perSecond(10, 0), true, quota.RateState{Remaining: 0, ResetsIn: 100 * time.Millisecond}}},
		"one a minute": {
			{0, 1, quota.Rate{Amount: 1, Period: "minute", Burst: 1, Share: quota.Whole}, true, quota.RateState{ResetsIn: time.Minute}},
			{59 * second, 1, quota.Rate{Amount: 1, Period: "minute", Burst: 1, Share: quota.Whole}, false, quota.RateState{RetryAfter: time.Second, ResetsIn: time.Second}},
			{60 * second, 1, quota.Rate{Amount: 1, Period: "minute", Burst: 1, Share: quota.Whole}, true, quota.RateState{ResetsIn: time.Minute}},
		},
		"the largest of all": {
			{0, tiergate.MaxAmount, perSecond(tiergate.MaxAmount, tiergate.MaxAmount), true, quota.RateState{ResetsIn: time.Second}},
			{1, 9_007_199, perSecond(tiergate.MaxAmount, tiergate.MaxAmount), true, quota.RateState{ResetsIn: time.Second}},
			{1, 1, perSecond(tiergate.MaxAmount, tiergate.MaxAmount), false, quota.RateState{RetryAfter: 1, ResetsIn: time.Second}},
		},
		"longer than anything": {
			{0, tiergate.MaxAmount, quota.Rate{Amount: 1, Period: "minute", Burst: tiergate.MaxAmount, Share: quota.Whole}, true, quota.RateState{ResetsIn: 1<<63 - 1}},
			{60 * second, 2, quota.Rate{Amount: 1, Period: "minute", Burst: tiergate.MaxAmount, Share: quota.Whole}, false, quota.RateState{Remaining: 1, RetryAfter: time.Minute, ResetsIn: 1<<63 - 1}},
		},
		"half of a rate and of its burst": {
			{0, 2, half, true, quota.RateState{Remaining: 0, ResetsIn: 400 * time.Millisecond}},
			{0, 1, half, false, quota.RateState{Remaining: 0, RetryAfter: 200 * time.Millisecond, ResetsIn: 400 * time.Millisecond}},
		},
		"more than the share of the burst, when nothing is owed": {
			{0, 4, half, true, quota.RateState{Remaining: 0, ResetsIn: 800 * time.Millisecond}},
			{500 * ms, 3, half, false, quota.RateState{Remaining: 0, RetryAfter: 300 * time.Millisecond, ResetsIn: 300 * time.Millisecond}},
			{800 * ms, 3, half, true, quota.RateState{Remaining: 0, ResetsIn: 600 * time.Millisecond}},
		},
		"a lower amount makes no room": {
			{0, 100, perSecond(1000, 100), true, quota.RateState{Remaining: 0, ResetsIn: 100 * time.Millisecond}},
			{0, 1, perSecond(1, 100), false, quota.RateState{Remaining: 0, RetryAfter: time.Second, ResetsIn: 100 * time.Second}},
			{second, 1, perSecond(1, 100), true, quota.RateState{Remaining: 0, ResetsIn: 100 * time.Second}},
		},
		"a larger amount makes none at once": {
			{0, 3, perSecond(1, 3), true, quota.RateState{Remaining: 0, ResetsIn: 3 * time.Second}},
			{0, 1, perSecond(1000, 3), false, quota.RateState{Remaining: 0, RetryAfter: time.Millisecond, ResetsIn: 3 * time.Millisecond}},
		},
		"a larger burst is there at once": {
			{0, 3, perSecond(1, 3), true, quota.RateState{Remaining: 0, ResetsIn: 3 * time.Second}},
			{0, 2, perSecond(1, 5), true, quota.RateState{Remaining: 0, ResetsIn: 5 * time.Second}},
		},
		"a smaller burst has to be paid for first": {
			{0, 5, perSecond(1, 5), true, quota.RateState{Remaining: 0, ResetsIn: 5 * time.Second}},
			{0, 1, perSecond(1, 2), false, quota.RateState{Remaining: 0, RetryAfter: 4 * time.Second, ResetsIn: 5 * time.Second}},
		},
		"what is owed is rounded up": {
			{0, 1, quota.Rate{Amount: 1, Period: "second", Burst: 1, Share: 333_333}, true, quota.RateState{ResetsIn: 3_000_003_001}},
			{1, 1, perSecond(1, 1), false, quota.RateState{RetryAfter: time.Second, ResetsIn: time.Second}},
		},
		"the clock goes back": {
			{10 * second, 3, ten, true, quota.RateState{Remaining: 0, ResetsIn: 300 * time.Millisecond}},
			{0, 1, ten, false, quota.RateState{Remaining: 0, RetryAfter: 100 * time.Millisecond, ResetsIn: 300 * time.Millisecond}},
			{-second, 1, ten, false, quota.RateState{Remaining: 0, RetryAfter: 100 * time.Millisecond, ResetsIn: 300 * time.Millisecond}},
			{10*second + 100*ms, 1, ten, true, quota.RateState{Remaining: 0, ResetsIn: 300 * time.Millisecond}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := quota.NewRates(10)
			k := r.Key("api", "team", "acme")
			for i, s := range steps {
				peeked, peek := r.Peek(k, s.rate, s.cost, s.at)
				ok, got := r.Take(k, s.rate, s.cost, s.at)
				if diff := cmp.Diff(s.want, got); ok != s.ok || diff != "" {
					t.Errorf("step %d is %v (-want +got):\n%s", i, ok, diff)
				}
				if peeked != ok || peek.RetryAfter != got.RetryAfter {
					t.Errorf("step %d: a peek says %v %+v", i, peeked, peek)
				}
			}
		})
	}
}

// Who asks at just the rate is never refused, and gets it to the unit: no time is lost to
// rounding, however much smaller than a nanosecond a unit's is.
func TestRates_a_steady_caller_gets_the_rate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount := max(1, anyAmount(tiergate.MaxAmount).Draw(t, "amount"))
		rate := quota.Rate{Amount: amount, Period: rapid.SampledFrom([]string{"second", "minute"}).Draw(t, "period"), Share: quota.Whole}
		longest := rapid.Int64Range(1, int64(min(uint64(time.Hour), max(1, 1<<52/uint64(amount))))).Draw(t, "longest wait")
		waits := rapid.SliceOfN(rapid.Int64Range(0, longest), 1, 100).Draw(t, "waits")
		rate.Burst = ceiling(product(speed(rate), rat(longest))).Int64() + 1
		r := quota.NewRates(1)
		k := r.Key("api", "team", "acme")
		now, got := int64(0), int64(0)
		for _, wait := range waits {
			now += wait
			due := floor(product(speed(rate), rat(now))).Int64()
			if ok, s := r.Take(k, rate, due-got, now); !ok {
				t.Fatalf("%d of %d due after %d ns are refused: %+v", due-got, due, now, s)
			}
			got = due
		}
	})
}

// Who takes all there is gets the burst and the rate, to the unit.
func TestRates_a_greedy_caller_gets_no_more(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := quota.Rate{
			Amount: rapid.Int64Range(1, tiergate.MaxAmount).Draw(t, "amount"), Period: rapid.SampledFrom([]string{"second", "minute"}).Draw(t, "period"),
			Burst: rapid.Int64Range(2, 1<<40).Draw(t, "burst"), Share: quota.Whole,
		}
		// So long at most, that something is owed all the time.
		longest := int64(time.Hour)
		if most := floor(new(big.Rat).Quo(rat(rate.Burst-1), speed(rate))); most.IsInt64() {
			longest = min(longest, most.Int64())
		}
		waits := rapid.SliceOfN(rapid.Int64Range(0, longest), 1, 100).Draw(t, "waits")
		r := quota.NewRates(1)
		k := r.Key("api", "team", "acme")
		now, got := int64(0), int64(0)
		for _, wait := range append([]int64{0}, waits...) {
			now += wait
			_, s := r.Peek(k, rate, 0, now)
			r.Take(k, rate, s.Remaining, now)
			got += s.Remaining
			if want := rate.Burst + floor(product(speed(rate), rat(now))).Int64(); got != want {
				t.Fatalf("%d units after %d ns, want %d", got, now, want)
			}
		}
	})
}

// A takenAt is what one take got.
type takenAt struct{ at, cost int64 }

// withinRate checks every window of time: in none was more taken than the burst and the rate.
func withinRate(t *rapid.T, rate quota.Rate, takes []takenAt) {
	for i := range takes {
		sum := int64(0)
		for _, last := range takes[i:] {
			sum += last.cost
			most := new(big.Rat).Add(rat(rate.Burst), product(speed(rate), rat(last.at-takes[i].at)))
			if rat(sum).Cmp(most) > 0 {
				t.Fatalf("%d units from %d to %d ns, where %s fit", sum, takes[i].at, last.at, most.FloatString(3))
			}
		}
	}
}

// In no window is more taken than burst + rate·time, whatever is asked for, taken back late, and
// however the clock runs.
func TestRates_hold_in_every_window(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := perSecond(rapid.Int64Range(1, 20).Draw(t, "amount"), rapid.Int64Range(1, 20).Draw(t, "burst"))
		r := quota.NewRates(1)
		k := r.Key("api", "team", "acme")
		var takes []takenAt
		now, newest := int64(0), int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "calls") {
			now = max(0, now+rapid.Int64Range(-second/10, second/4).Draw(t, "wait"))
			newest = max(newest, now)
			if n := len(takes); n > 0 && rapid.IntRange(0, 3).Draw(t, "undo") == 0 {
				i := rapid.IntRange(max(0, n-3), n-1).Draw(t, "which")
				r.Undo(k, rate, takes[i].cost, takes[i].at, now)
				takes = append(takes[:i:i], takes[i+1:]...)
				continue
			}
			cost := rapid.Int64Range(1, rate.Burst).Draw(t, "cost")
			if ok, _ := r.Take(k, rate, cost, now); ok {
				takes = append(takes, takenAt{newest, cost})
			}
		}
		withinRate(t, rate, takes)
	})
}

// What is taken back at once was never taken.
func TestRates_Undo(t *testing.T) {
	r, rate := quota.NewRates(10), perSecond(10, 3)
	k := r.Key("api", "team", "acme")
	r.Undo(k, rate, 1, 0, 0) // of a key that is not there
	r.Take(k, rate, 1, 0)
	r.Take(k, rate, 2, 0)
	r.Undo(k, rate, 2, 0, 0)
	if _, got := r.Peek(k, rate, 1, 0); got.Remaining != 2 {
		t.Errorf("%d are left, want 2", got.Remaining)
	}
	r.Undo(k, perSecond(11, 3), 1, 0, 0)
	r.Undo(k, rate, -1, 0, 0)
	r.Undo(k, rate, 4, 0, 0)
	if _, got := r.Peek(k, rate, 1, 0); got.Remaining != 2 {
		t.Errorf("%d are left after what undoes nothing, want 2", got.Remaining)
	}
	r.Take(k, rate, 2, 0)
	r.Undo(k, rate, 2, 0, 100*ms) // one of the two has been paid for since
	if _, got := r.Peek(k, rate, 1, 100*ms); got.Remaining != 2 {
		t.Errorf("%d are left, want 2", got.Remaining)
	}
}

// While all keys that there is room for owe something, no other one is let in, and hears when
// it may come again; those that are there go on. The first that owes nothing makes room.
func TestRates_when_there_is_no_room(t *testing.T) {
	const room = 100
	r, rate := quota.NewRates(room), perSecond(1, 1000)
	key := func(i uint64) quota.RateKey { return quota.RateKeyOf(i, i*0x9e3779b97f4a7c15) }
	for i := range uint64(room) {
		if ok, s := r.Take(key(i), rate, 10+int64(i), 0); !ok { // it owes something until second 10+i
			t.Fatalf("key %d has no room: %+v", i, s)
		}
	}
	stranger := uint64(room)
	refused := func(at int64, wait time.Duration) {
		t.Helper()
		want := quota.RateState{RetryAfter: wait, ResetsIn: wait, Full: true}
		peeked, peek := r.Peek(key(stranger), rate, 1, at)
		ok, got := r.Take(key(stranger), rate, 1, at)
		if diff := cmp.Diff(want, got); ok || diff != "" {
			t.Errorf("at %v a stranger is let through: %v (-want +got):\n%s", time.Duration(at), ok, diff)
		}
		if diff := cmp.Diff(want, peek); peeked || diff != "" {
			t.Errorf("at %v a peek says %v (-want +got):\n%s", time.Duration(at), peeked, diff)
		}
	}
	welcome := func(at int64) {
		t.Helper()
		if ok, s := r.Take(key(stranger), rate, 200, at); !ok {
			t.Errorf("at %v a stranger is refused: %+v", time.Duration(at), s)
		}
		stranger++
	}
	refused(0, 10*time.Second)
	refused(10*second-1, 1)
	welcome(10 * second)
	refused(10*second, time.Second)
	if ok, s := r.Take(key(50), rate, 1, 10*second); !ok || s.ResetsIn != 51*time.Second {
		t.Errorf("a key that is there hears %v %+v", ok, s)
	}
	r.Take(key(60), perSecond(1000, 1000), 1, 10*second) // paid for soon
	refused(10*second, 61*time.Millisecond)
	welcome(10*second + 61*ms)
	r.Take(key(1), rate, 100, 10*second+61*ms)
	refused(10*second+61*ms, 1939*time.Millisecond)
	welcome(12 * second)
	refused(12*second, time.Second)
	r.Undo(key(stranger-1), rate, 200, 12*second, 12*second)
	welcome(12 * second)
	if n := r.Len(); n != room {
		t.Errorf("%d keys, where there is room for %d", n, room)
	}
}

// Keys that owe nothing make room for others before the table grows.
func TestRates_forget_before_they_grow(t *testing.T) {
	r, rate := quota.NewRates(1000), perSecond(1000, 1)
	for i := range int64(10_000) {
		r.Take(r.Key("api", "user", strconv.FormatInt(i, 10)), rate, 1, i*ms)
	}
	if n := r.Len(); n > 50 {
		t.Errorf("%d keys are kept, where one owes something", n)
	}
}

// Keys are told apart by limit, scope and subject, and are the same each time.
func TestRates_Key(t *testing.T) {
	r := quota.NewRates(1)
	seen := map[quota.RateKey][3]string{}
	for _, k := range [][3]string{{"a", "b", "c"}, {"ab", "", "c"}, {"", "ab", "c"}, {"a", "bc", ""}, {"", "", "abc"}, {"a", "c", "b"}} {
		key := r.Key(k[0], k[1], k[2])
		if other, ok := seen[key]; ok || key != r.Key(k[0], k[1], k[2]) {
			t.Errorf("%q has the key of %q", k, other)
		}
		seen[key] = k
	}
	if r.Key("a", "b", "c") == quota.NewRates(1).Key("a", "b", "c") {
		t.Error("keys can be foretold")
	}
}

// Many who take at once, from two rates or none, get all of what there is and no more.
func TestRates_under_contention(t *testing.T) {
	const callers, each = 8, 5000
	r := quota.NewRates(1000)
	wide, narrow := perSecond(1_000_000, 500), perSecond(300_000, 100)
	a, b := r.Key("wide", "team", "acme"), r.Key("narrow", "team", "acme")
	r.Take(a, wide, wide.Burst, 0)
	r.Take(b, narrow, narrow.Burst, 0)
	var clock, both atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				now := clock.Add(700)
				if ok, _ := r.Take(a, wide, 1, now); !ok {
					continue
				}
				if ok, _ := r.Take(b, narrow, 1, now); ok {
					both.Add(1)
				} else {
					r.Undo(a, wide, 1, now, now)
				}
			}
		})
	}
	wg.Wait()
	end := clock.Load()
	for ok := true; ok; {
		if ok, _ = r.Take(b, narrow, 1, end); ok {
			both.Add(1)
		}
	}
	if want := narrow.Amount * end / second; both.Load() != want {
		t.Errorf("%d units in %v after the burst, want the rate, %d", both.Load(), time.Duration(end), want)
	}
}

// Many keys come and go at once: there is never more than what there is room for, and each
// key that owes something is remembered.
func TestRates_keys_come_and_go_at_once(t *testing.T) {
	const callers, room = 4, 4096
	r, rate := quota.NewRates(room), perSecond(10, 1)
	var clock atomic.Int64
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for n := range 20_000 {
				now := clock.Add(ms) // a key is idle after 100 of these
				k := r.Key("api", strconv.Itoa(caller), strconv.Itoa(n))
				first, s := r.Take(k, rate, 1, now)
				if again, _ := r.Take(k, rate, 1, now); !first || again && clock.Load() < now+100*ms {
					t.Errorf("key %d: first %v %+v, again %v", n, first, s, again)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := r.Len(); n > room+room/8 {
		t.Errorf("%d keys, where there is room for %d", n, room)
	}
}

// A known key costs no memory.
func TestRates_do_not_alloc(t *testing.T) {
	r, rate := quota.NewRates(1000), perSecond(1, 1<<40)
	r.Take(r.Key("api", "team", "acme"), rate, 1, 0)
	now := int64(0)
	if n := testing.AllocsPerRun(1000, func() {
		now++
		k := r.Key("api", "team", "acme")
		if ok, _ := r.Take(k, rate, 1, now); ok {
			r.Undo(k, rate, 1, now, now)
		}
		r.Peek(k, rate, 1, now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
