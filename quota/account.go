package quota

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiergate/tiergate"
)

// An account is the bucket of one subject, limit and period as this process sees it: the
// lease and those who wait for units of it. Times are of the engine's own, monotonic clock,
// in nanoseconds.
type account struct {
	bucket tiergate.Bucket
	period tiergate.Period

	mu sync.Mutex
	holding
	holder string // in whose name the lease is
	slot   *slot  // where the counters outlive the process
	ends   int64  // from then on nothing is spent: the period is over; 0 when it is not known yet
	over   bool   // the period is over
	closed bool   // no longer among the accounts

	amount, rev int64 // what the limit allows, as of the newest revision seen
	reserve     int64 // what is kept for the time when the ledger is away
	emergency   int64 // what of it was used since the ledger was last heard
	queue       []*waiter
	backs       []*returning
	listed      atomic.Bool // among those that the next exchange asks for

	// The last denial, and of what.
	denied                    verdict
	deniedAt                  int64
	deniedUnits, deniedAmount int64

	told   bool      // what follows is the ledger's last word
	most   int64     // what the holder may have spent at most by the time that nothing is left
	others int64     // what others hold
	asOf   time.Time // by the ledger's clock

	usedAt   int64   // when somebody last wanted units
	recalled int64   // until then others lack what would be held without need
	rate     float64 // units per second, averaged over the last seconds
	measured int64   // when rate was last brought up to date …
	counted  int64   // … and what was spent by then
}

// A waiter is a call that needs more units than there are at hand.
type waiter struct {
	units       int64
	amount, rev int64 // what the limit allows its caller, as of a revision
	asked       bool  // an exchange that asks for it is on its way
	done        chan verdict
	// In whose name, and under which fence of the lease, it got them.
	holder string
	fence  int64
}

// A returning is a call that waits until what is held of a bucket has been given back.
type returning struct {
	asked bool // the message that gives it back is on its way
	done  chan struct{}
}

// A verdict is what a waiter hears.
type verdict int

const (
	got       verdict = iota
	exhausted         // nothing is left
	contended         // others hold what is left
	elsewhen          // it is another period by now
	moved             // the account is another holder's by now
	away              // the ledger cannot be asked
)

// spendable says whether the holder may spend from the account at all now.
func (a *account) spendable(now, deadline int64) bool {
	return now < deadline && now < a.ends
}

// take takes units if they are at hand and nobody waits for them, and says whether it is
// time to ask for more. The caller holds a.mu.
func (a *account) take(units, amount, now, deadline int64) (ok, more bool) {
	a.usedAt = now
	if len(a.queue) > 0 || !a.spendable(now, deadline) || a.rest()-a.reserve < units || !a.spend(units, amount) {
		return false, true
	}
	a.kept()
	return true, a.rest()-a.reserve < a.low() && now > a.recalled
}

// kept writes the counters where they outlive the process.
func (a *account) kept() {
	if a.slot != nil {
		a.slot.keep(a.granted, a.spent, a.fence)
	}
}

// ride is how long a lease should last at the rate at which it is used, and low is when to
// ask for more: the ledger is asked a few times in each TTL, not for each call.
const ride = TTL / 2

func (a *account) low() int64 { return int64(a.rate * (ride / 4).Seconds()) }

// target is how much the account would like to hold.
func (a *account) target(now int64) int64 {
	switch {
	case a.over, now < a.recalled:
		return 0
	case now-a.usedAt > int64(ride):
		return 0
	}
	const first = 64 // before anything is known of the rate
	n := max(first, a.rate*ride.Seconds())
	return int64(min(n, float64(tiergate.MaxAmount)/4)) + a.reserve
}

// measure brings the rate up to date. Old seconds count for less and less.
func (a *account) measure(now int64) {
	const memory = float64(2 * time.Second)
	elapsed := float64(now - a.measured)
	if a.measured != 0 && elapsed < float64(10*time.Millisecond) {
		return
	}
	if a.measured != 0 {
		newest := float64(max(0, a.spent-a.counted)) / (elapsed / float64(time.Second))
		a.rate += (newest - a.rate) * (1 - math.Exp(-elapsed/memory))
	}
	a.measured, a.counted = now, a.spent
}

// message makes the account's part of the next exchange. The caller holds a.mu.
func (a *account) message(now int64) tiergate.LeaseAsk {
	a.measure(now)
	ask := tiergate.LeaseAsk{Bucket: a.bucket, Period: a.period, Amount: a.amount, Rev: a.rev, Want: a.target(now)}
	for _, b := range a.backs {
		b.asked = true
	}
	for _, w := range a.queue {
		w.asked = true
		ask.Need += w.units
		if ask.Least == 0 || w.units < ask.Least {
			ask.Least = w.units
		}
		if w.amount < ask.Amount { // the lowest counts, as of when it was so
			ask.Amount, ask.Rev = w.amount, w.rev
		}
	}
	if ask.Need > 0 {
		ask.Need += a.reserve
		ask.Want = max(ask.Want, ask.Need)
	}
	ask = a.ask(ask)
	a.kept()
	return ask
}

// hear takes in what the ledger answered, and serves those who wait in the order in which
// they came. The caller holds a.mu.
func (a *account) hear(ask *tiergate.LeaseAsk, answer *tiergate.LeaseAnswer, now, deadline int64) {
	a.heed(ask, answer)
	a.kept()
	a.told, a.others = true, answer.Outstanding
	a.most = a.granted + answer.Available
	a.emergency = 0
	kept := a.queue[:0]
	for _, w := range a.queue {
		switch {
		case a.spendable(now, deadline) && a.spend(w.units, w.amount):
			w.holder, w.fence = a.holder, a.fence
			w.done <- got
		case !w.asked:
			kept = append(kept, w)
		case answer.OutOfPeriod, now >= a.ends: // or nearly: see margin
			w.done <- elsewhen
		case answer.Learning:
			w.done <- away
		default:
			a.deny(w, now)
		}
	}
	clear(a.queue[len(kept):])
	a.queue = kept
	a.kept()
	a.returned(false)
}

// returned lets those go on who wait for what is given back: all, or those whose message was
// answered. The caller holds a.mu.
func (a *account) returned(all bool) {
	a.backs = slices.DeleteFunc(a.backs, func(b *returning) bool {
		if !all && !b.asked {
			return false
		}
		close(b.done)
		return true
	})
}

// deny tells a waiter that there is not as much, and remembers it for those who come next.
func (a *account) deny(w *waiter, now int64) {
	v := exhausted
	if a.others > 0 {
		v = contended
	}
	a.denied, a.deniedAt, a.deniedUnits, a.deniedAmount = v, now, w.units, w.amount
	w.done <- v
}

// settled says whether the ledger has been told of all that was spent.
func (a *account) settled() bool { return a.slot == nil || a.slot.uploaded() >= a.spent }

// fail tells all who wait the same. The caller holds a.mu.
func (a *account) fail(v verdict) {
	for _, w := range a.queue {
		w.done <- v
	}
	clear(a.queue)
	a.queue = a.queue[:0]
	if v == away {
		a.returned(true) // they ask the ledger, and hear the same
	}
}

// leave takes a waiter out of the queue, and says whether it was still there; if not, its
// verdict is in its channel. The caller holds a.mu.
func (a *account) leave(w *waiter) bool {
	for i, other := range a.queue {
		if other == w {
			a.queue = append(a.queue[:i], a.queue[i+1:]...)
			return true
		}
	}
	return false
}

// left says what is left for the subject, as far as is known.
func (a *account) left(s *tiergate.LimitState, alone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.told {
		return
	}
	s.Min = max(0, a.most-a.spent)
	s.Max = s.Min + max(0, a.others)
	s.Exact = s.Min == s.Max && alone
	s.AsOf = a.asOf
}
