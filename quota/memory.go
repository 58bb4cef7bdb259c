package quota

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tiergate/tiergate"
)

// The ledger's times. A holder that was not heard for TTL and then Grace counts as lost.
const (
	// TTL is for how long after a message a holder may spend what it holds.
	TTL = 10 * time.Second
	// Grace is how much longer the ledger waits before it sets a silent holder's units
	// apart. It only decides what they are called: they stay debited.
	Grace = 5 * time.Second
	// RecallFor is how long a bucket that had too little for somebody is asked back from
	// the others.
	RecallFor = 5 * time.Second
)

// Memory is a tiergate.Ledger, ReservationLedger and GaugeLedger of one process: what it
// knows ends with it. It is the plain form of the rules that every ledger keeps. Its zero
// value is ready.
type Memory struct {
	Now func() time.Time // nil is time.Now

	mu sync.Mutex
	memoryState
	// timeline is which life of the ledger this is; when it differs from the one that the
	// state has seen, newer history has been lost.
	timeline int64
}

var (
	_ tiergate.Ledger            = (*Memory)(nil)
	_ tiergate.ReservationLedger = (*Memory)(nil)
	_ tiergate.GaugeLedger       = (*Memory)(nil)
)

// memoryState is all that a Memory knows; see clone.
type memoryState struct {
	buckets      map[tiergate.Bucket]*bucket
	holders      map[string]*holder
	logs         map[string]uploadedLog
	keys         map[usageKey]string // the fingerprints
	reservations map[reservationKey]*tiergate.Reservation
	denials      map[tiergate.Denial]int64
	usage        map[tiergate.Bucket]int64 // Σ of what was uploaded and committed
	seen         int64                     // the timeline
	learning     time.Time                 // nothing is granted until then
}

// A bucket is one counter. What may still be handed out is the amount in force less all of
// used, leased, reserved and forfeited.
type bucket struct {
	amount, rev                       int64
	used, leased, reserved, forfeited int64
	wanted                            time.Time // when somebody last got less than needed
	leases                            map[string]*lease
	shares                            map[string]share
	items                             map[string]bool
}

// A lease is what one holder has of one bucket. Of it, granted−reported is set aside.
type lease struct {
	state             tiergate.LeaseState
	fence             int64
	granted, reported int64
}

type share struct {
	millionths int64
	expires    time.Time
}

type holder struct {
	token    string
	timeline int64
	expires  time.Time
	lost     bool
	retired  bool
}

func (m *Memory) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

// Failover says that newer history may have been lost, as when a standby takes over: until
// every holder has said what it holds, nothing is granted.
func (m *Memory) Failover() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.timeline++
}

// lock begins a transaction: it returns the time.
func (m *Memory) lock() time.Time {
	m.mu.Lock()
	if m.buckets == nil {
		m.memoryState = memoryState{
			buckets: map[tiergate.Bucket]*bucket{}, holders: map[string]*holder{}, logs: map[string]uploadedLog{},
			keys: map[usageKey]string{}, reservations: map[reservationKey]*tiergate.Reservation{},
			denials: map[tiergate.Denial]int64{}, usage: map[tiergate.Bucket]int64{}, seen: m.timeline,
		}
	}
	now := m.now()
	if m.seen != m.timeline {
		m.seen, m.learning = m.timeline, now.Add(TTL+Grace)
	}
	return now
}

func (m *Memory) bucket(key tiergate.Bucket) *bucket {
	b := m.buckets[key]
	if b == nil {
		b = &bucket{leases: map[string]*lease{}, shares: map[string]share{}, items: map[string]bool{}}
		m.buckets[cloneBucket(key)] = b // the names may be a request's
	}
	return b
}

// Exchange implements tiergate.Ledger.
func (m *Memory) Exchange(_ context.Context, x tiergate.Exchange) (tiergate.Exchanged, error) {
	if err := x.Validate(); err != nil {
		return tiergate.Exchanged{}, err
	}
	now := m.lock()
	defer m.mu.Unlock()
	if err := m.admit(x.Holder, x.Previous, x.Token, now); err != nil {
		return tiergate.Exchanged{}, err
	}
	m.sweep(now)
	m.expire(now)
	out := tiergate.Exchanged{
		Now: now, TTL: TTL, Answers: make([]tiergate.LeaseAnswer, len(x.Asks)), Shares: make([]int64, len(x.Rates)),
	}
	for i := range x.Asks {
		out.Answers[i] = m.answer(x.Holder, &x.Asks[i], now)
	}
	for i, ask := range x.Rates {
		out.Shares[i] = m.bucket(ask.Bucket).share(x.Holder, now)
	}
	for key, b := range m.buckets {
		if l := b.leases[x.Holder]; l != nil && l.state == tiergate.LeaseActive && now.Sub(b.wanted) < RecallFor {
			out.Recall = append(out.Recall, key)
		}
	}
	slices.SortFunc(out.Recall, compareBuckets)
	for _, h := range m.holders {
		if !h.lost && !h.retired {
			out.Holders++
		}
	}
	return out, nil
}

func compareBuckets(a, b tiergate.Bucket) int {
	return cmp.Or(cmp.Compare(a.Limit, b.Limit), cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Period, b.Period))
}

// admit lets a holder speak that knows its newest token, and takes back what was set apart
// while it was silent.
func (m *Memory) admit(id, previous, token string, now time.Time) error {
	h := m.holders[id]
	switch {
	case h == nil && (previous == "" || now.Before(m.learning)):
		h = &holder{}
		m.holders[id] = h
	case h == nil, h.retired:
		return tiergate.ErrFenced
	case h.token != previous && h.token != token && h.timeline == m.seen:
		return tiergate.ErrFenced
	}
	h.token, h.timeline, h.expires = token, m.seen, now.Add(TTL)
	if h.lost {
		h.lost = false
		m.turn(id, tiergate.LeaseForfeit, tiergate.LeaseActive)
	}
	return nil
}

// sweep sets apart what silent holders hold.
func (m *Memory) sweep(now time.Time) {
	for id, h := range m.holders {
		if !h.lost && !h.retired && now.After(h.expires.Add(Grace)) {
			h.lost = true
			m.turn(id, tiergate.LeaseActive, tiergate.LeaseForfeit)
		}
	}
}

// turn moves all leases of a holder from one state to another.
func (m *Memory) turn(id string, from, to tiergate.LeaseState) {
	for _, b := range m.buckets {
		if l := b.leases[id]; l != nil && l.state == from {
			b.change(l, func() { l.state = to })
		}
	}
}

// change does something to a lease and keeps the sums of its bucket in step.
func (b *bucket) change(l *lease, do func()) {
	b.count(l, -1)
	do()
	b.count(l, 1)
}

func (b *bucket) count(l *lease, sign int64) {
	aside := sign * max(0, l.granted-l.reported)
	if l.state == tiergate.LeaseForfeit {
		b.forfeited += aside
	} else {
		b.leased += aside
	}
}

// maxUsed is where a bucket's used stops growing, so that it never turns over and is free
// again.
const maxUsed = 1<<62 - 1

// use counts units as used.
func (b *bucket) use(units int64) { b.used = min(b.used+units, maxUsed) }

// lease returns a holder's lease, a new one when it has none.
func (b *bucket) lease(id string) *lease {
	l := b.leases[id]
	if l == nil {
		l = &lease{state: tiergate.LeaseSealed}
		b.leases[id] = l
	}
	return l
}

// allows returns the amount that counts for somebody who knows it as of a revision.
func (b *bucket) allows(amount, rev int64) int64 {
	switch {
	case rev >= b.rev:
		b.amount, b.rev = amount, rev
		return amount
	default:
		return min(amount, b.amount)
	}
}

// answer is what one lease gets.
func (m *Memory) answer(id string, ask *tiergate.LeaseAsk, now time.Time) tiergate.LeaseAnswer {
	b := m.bucket(ask.Bucket)
	amount := b.allows(ask.Amount, ask.Rev)
	l := b.lease(id)
	switch {
	case ask.Fence > l.fence: // taken up anew; what is granted is what the holder says, even if a copy of it has used more
		b.change(l, func() { l.fence, l.state, l.granted = ask.Fence, tiergate.LeaseActive, ask.Granted })
	case ask.Fence == l.fence && ask.Granted > l.granted && l.state == tiergate.LeaseActive: // a grant that the ledger has lost
		b.change(l, func() { l.granted = ask.Granted })
	}
	a := tiergate.LeaseAnswer{OutOfPeriod: !ask.Period.Holds(now), Learning: now.Before(m.learning)}
	switch {
	case ask.Fence < l.fence || l.state != tiergate.LeaseActive: // late
		a.State = tiergate.LeaseSealed
	case ask.Seal:
		b.change(l, func() { l.state, l.granted = tiergate.LeaseSealed, max(ask.Spent, l.reported) })
		a.State = tiergate.LeaseSealed
	default:
		a.State = tiergate.LeaseActive
		if !a.OutOfPeriod && !a.Learning {
			b.grant(l, ask, amount, now)
		}
	}
	a.Granted = l.granted
	a.Available = amount - b.used - b.leased - b.reserved - b.forfeited
	a.Outstanding = b.leased + b.reserved - max(0, l.granted-l.reported)
	return a
}

// grant gives what is needed, all of it or as much as there is, and beyond that at most a
// share of what would be left to each of the holders, halved, so that the last units are
// never all with one of them.
func (b *bucket) grant(l *lease, ask *tiergate.LeaseAsk, amount int64, now time.Time) {
	available := amount - b.used - b.leased - b.reserved - b.forfeited
	need := max(0, ask.Spent+ask.Need-l.granted)
	given := min(need, available)
	if given < need && ask.Spent+ask.Least > l.granted+given {
		given = 0 // not even the smallest would be served
	}
	given = max(0, given)
	if given < need {
		b.wanted = now
	} else {
		active := int64(0)
		for _, other := range b.leases {
			if other.state == tiergate.LeaseActive {
				active++
			}
		}
		more := min(ask.Spent+ask.Want-l.granted-given, (available-given)/(2*max(1, active)))
		given += max(0, more)
	}
	b.change(l, func() { l.granted += given })
}

// share gives a holder its part of a rate: an equal one, once the others have made room.
func (b *bucket) share(id string, now time.Time) int64 {
	const whole = 1_000_000
	others, taken := int64(0), int64(0)
	for other, s := range b.shares {
		if other == id || now.After(s.expires) {
			continue
		}
		others++
		taken += s.millionths
	}
	mine := max(0, min(whole/(others+1), whole-taken))
	b.shares[id] = share{mine, now.Add(TTL + Grace)}
	return mine
}

// Retire implements tiergate.Ledger.
func (m *Memory) Retire(_ context.Context, r tiergate.Retirement) error {
	now := m.lock()
	defer m.mu.Unlock()
	if m.logs[r.Log].at < r.At {
		return tiergate.Errorf(tiergate.Conflict, "the usage of the holder has not been counted yet")
	}
	h := m.holders[r.Holder]
	switch {
	case h == nil: // its first message may be under way yet, and then nobody would have what it gets
		m.holders[r.Holder] = &holder{retired: true}
		return nil
	case h.retired:
		return nil
	}
	if err := m.admit(r.Holder, r.Previous, r.Token, now); err != nil {
		return err
	}
	h.retired = true
	for _, b := range m.buckets {
		if l := b.leases[r.Holder]; l != nil { // also what was given back and never recorded
			b.change(l, func() { l.state, l.granted = tiergate.LeaseSealed, l.reported })
		}
		delete(b.shares, r.Holder)
	}
	return nil
}

// clone copies a state, for those who look at what might have been.
func (s memoryState) clone() memoryState {
	s.buckets = maps.Clone(s.buckets)
	for key, b := range s.buckets {
		c := *b
		c.leases = maps.Clone(b.leases)
		for id, l := range c.leases {
			copied := *l
			c.leases[id] = &copied
		}
		c.shares, c.items = maps.Clone(b.shares), maps.Clone(b.items)
		s.buckets[key] = &c
	}
	s.holders = maps.Clone(s.holders)
	for id, h := range s.holders {
		copied := *h
		s.holders[id] = &copied
	}
	s.reservations = maps.Clone(s.reservations)
	for id, r := range s.reservations {
		copied := *r
		s.reservations[id] = &copied
	}
	s.logs, s.keys = maps.Clone(s.logs), maps.Clone(s.keys)
	s.denials, s.usage = maps.Clone(s.denials), maps.Clone(s.usage)
	return s
}
