package quota

import (
	"hash/maphash"
	"math/bits"
	"time"

	"github.com/tiergate/tiergate"
)

// A Rate is how fast one key may take units, and how many at once. It is counted by GCRA, the
// generic cell rate algorithm: of each key only the time is kept at which all that it took
// is paid for, at Amount a period. A take fits when what is owed with it is at most Burst. Over
// any time t a key so takes at most Burst + Amount·t/Period, and a caller who asks at that
// pace is never refused.
//
// When the rate of a key changes, what it owes stays the same number of units from the first
// call under the new rate on, and is paid for at the new pace: no change makes room for what
// was taken before, but that a larger burst lets more be owed.
type Rate struct {
	Amount int64  // the units per period, up to tiergate.MaxAmount; 0 lets nothing through
	Period string // "second" or "minute"; anything else lets nothing through
	Burst  int64  // the units at once, up to tiergate.MaxAmount; less than 1 is 1
	// Share is the part of the rate and of its burst that is counted here, in millionths: a
	// million of a rate that is not shared with others, 0 of one that lets nothing through.
	// A take that is larger than the share of the burst, but not than the burst, fits when
	// nothing is owed: so n holders who share a rate never take more together than
	// Amount·t/Period and, each, the larger of its share of the burst and its largest take.
	Share int64
}

// Whole is a whole rate in the parts that shares are said in.
const Whole = 1_000_000

// Never is a duration that does not end.
const Never = time.Duration(-1)

// A RateState is what a rate says after a take, or instead of one.
type RateState struct {
	Remaining int64 // the units that fit now
	// RetryAfter is when the same take fits if nobody else takes anything; 0 when it does
	// now, Never for one that is larger than the burst, negative, or of a rate of nothing.
	RetryAfter time.Duration
	ResetsIn   time.Duration // when nothing is owed any more; Never for a rate of nothing
	// Full says that the key is unknown, and that there is no room for another one before
	// one of those that are there owes nothing: RetryAfter is when.
	Full bool
}

// A RateKey is a limit's subject; see Rates.Key.
type RateKey struct{ hi, lo uint64 }

// Rates keeps rate limits for a bounded number of keys. Only keys that owe nothing are
// forgotten, and forgetting those changes no answer. It is safe for concurrent use; a take by a
// known key allocates nothing.
//
// Time is passed in, as nanoseconds that only grow, from any beginning that is not negative.
// A time before another one counts as that one: so a clock that goes back gives nothing.
type Rates struct {
	seeds  [2]maphash.Seed
	shards []rateShard
}

const maxShardsOfRates = 256

// NewRates makes room for about as many keys that owe something, at 40 to 65 bytes each.
// Room is made when it is needed. Less than 1 is 1.
func NewRates(keys int) *Rates {
	n := 1
	for n < maxShardsOfRates && keys/n > 1024 {
		n *= 2
	}
	each := max(keys, 1) / n
	if n > 1 {
		each += each / 8 // keys do not spread evenly
	}
	r := &Rates{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, shards: make([]rateShard, n)}
	for i := range r.shards {
		r.shards[i].most = max(each, 1)
	}
	return r
}

// Key returns the key of a limit's subject. It is another one in each Rates.
func (r *Rates) Key(limit, scope, subject string) RateKey {
	of := struct{ limit, scope, subject string }{limit, scope, subject}
	return RateKey{maphash.Comparable(r.seeds[0], of), maphash.Comparable(r.seeds[1], of)}
}

// Take takes cost units at a time if they fit, all or none.
func (r *Rates) Take(k RateKey, rate Rate, cost, now int64) (bool, RateState) {
	return r.ask(k, rate, cost, now, true)
}

// Peek says what Take would, and takes nothing.
func (r *Rates) Peek(k RateKey, rate Rate, cost, now int64) (bool, RateState) {
	return r.ask(k, rate, cost, now, false)
}

func (r *Rates) ask(k RateKey, rate Rate, cost, now int64, take bool) (bool, RateState) {
	p := rate.pace()
	if p.perNS == 0 {
		return false, RateState{RetryAfter: Never, ResetsIn: Never}
	}
	s := &r.shards[k.hi%uint64(len(r.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = max(s.now, now)
	e := s.find(k)
	var owed u128
	if e != nil {
		if e.pace != p.word() {
			e.change(&p, s.now)
			s.idleAt = 0
		}
		owed = e.owed(s.now)
	}
	if cost < 0 || cost > p.burst {
		return false, p.state(owed, Never)
	}
	units := mul(uint64(cost), p.unit)
	after := owed.plus(units)
	if most := p.most(units); most.less(after) {
		return false, p.state(owed, nanoseconds(after.minus(most), p.perNS))
	}
	if !take || cost == 0 {
		if full := e == nil && cost > 0 && !s.hasRoom(); full {
			return false, s.fullState()
		}
		return true, p.state(owed, 0)
	}
	if e == nil {
		if !s.hasRoom() {
			return false, s.fullState()
		}
		e = s.insert(k)
	}
	e.pace, e.paid = p.word(), mul(uint64(s.now), p.perNS).plus(after)
	return true, p.state(after, 0)
}

// Undo gives back a Take that led to nothing: at is the time that it was given, now a later
// one. What would be paid for by now anyway is not given back, for another take may stand
// on it; nor is anything when the key's rate has changed.
func (r *Rates) Undo(k RateKey, rate Rate, cost, at, now int64) {
	p := rate.pace()
	s := &r.shards[k.hi%uint64(len(r.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = max(s.now, now)
	e := s.find(k)
	if e == nil || e.pace != p.word() || cost <= 0 || cost > p.burst {
		return
	}
	units, paid := mul(uint64(cost), p.unit), mul(uint64(s.now-min(max(at, 0), s.now)), p.perNS)
	e.paid = e.paid.minus(units.minus(paid))
	s.idleAt = 0
}

// Len is how many keys are kept. It looks at all parts one after the other.
func (r *Rates) Len() int {
	n := 0
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		n += s.used
		s.mu.Unlock()
	}
	return n
}

// A pace is a Rate as it is counted with: nothing is ever rounded, so that nothing drifts. What
// is owed is counted in parts, of which a unit has as many as a period has nanoseconds, and so
// each nanosecond pays for Amount of them.
type pace struct {
	perNS uint64 // the parts that a nanosecond pays for, below 2^62; 0 lets nothing through
	unit  uint64 // the parts of a unit, at most 6e16
	burst int64  // the units that one take may have
	full  u128   // the parts that may be owed
	kind  uint64 // which of four units it is
}

// The kinds of units.
const (
	ofMinute uint64 = 1 << iota
	ofShare         // a unit has a million times as many parts
)

// shareable is the largest amount that is cut into millionths without rounding; of a larger
// one a share is rounded down to units.
const shareable = 1 << 42

func (r *Rate) pace() pace {
	p := pace{burst: min(max(r.Burst, 1), tiergate.MaxAmount)}
	switch r.Period {
	case "second":
		p.unit = uint64(time.Second)
	case "minute":
		p.unit, p.kind = uint64(time.Minute), ofMinute
	default:
		return p
	}
	amount, share := uint64(min(max(r.Amount, 0), tiergate.MaxAmount)), uint64(min(max(r.Share, 0), Whole))
	switch {
	case share == Whole:
		p.perNS, p.full = amount, mul(uint64(p.burst), p.unit)
	case amount <= shareable:
		p.perNS, p.full = amount*share, mul(uint64(p.burst), p.unit*share)
		p.unit *= Whole
		p.kind |= ofShare
	default:
		p.perNS = mul(amount, share).over(Whole)
		p.full = mul(mul(uint64(p.burst), share).over(Whole), p.unit)
	}
	return p
}

// word is what an entry keeps of a pace; it is not 0 when anything is let through.
func (p *pace) word() uint64 { return p.perNS<<2 | p.kind }

// unitOf is the parts of a unit, by a pace's word.
func unitOf(word uint64) uint64 {
	return [4]uint64{uint64(time.Second), uint64(time.Minute), uint64(time.Second) * Whole, uint64(time.Minute) * Whole}[word&3]
}

// most is what may be owed by a take of so many parts.
func (p *pace) most(units u128) u128 {
	if p.full.less(units) {
		return units
	}
	return p.full
}

func (p *pace) state(owed u128, retry time.Duration) RateState {
	most := p.most(u128{lo: p.unit})
	return RateState{
		Remaining: int64(most.minus(owed).over(p.unit)), RetryAfter: retry, ResetsIn: nanoseconds(owed, p.perNS),
	}
}

// nanoseconds is for how long parts are paid for, rounded up.
func nanoseconds(parts u128, perNS uint64) time.Duration {
	return time.Duration(min(parts.plus(u128{lo: perNS - 1}).over(perNS), 1<<63-1))
}

// A u128 is a number of 128 bits.
type u128 struct{ hi, lo uint64 }

func mul(a, b uint64) u128 {
	hi, lo := bits.Mul64(a, b)
	return u128{hi, lo}
}

func (a u128) plus(b u128) u128 {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	return u128{a.hi + b.hi + carry, lo}
}

// minus is 0 when b is larger.
func (a u128) minus(b u128) u128 {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, borrow := bits.Sub64(a.hi, b.hi, borrow)
	if borrow != 0 {
		return u128{}
	}
	return u128{hi, lo}
}

func (a u128) less(b u128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// over is a/b rounded down, or the largest uint64.
func (a u128) over(b uint64) uint64 {
	if a.hi == 0 {
		return a.lo / b
	}
	if a.hi >= b {
		return 1<<64 - 1
	}
	q, _ := bits.Div64(a.hi, a.lo, b)
	return q
}
