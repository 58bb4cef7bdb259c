package quota

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota/spool"
)

// Options are an Engine's settings. Ledger and Dir are needed.
type Options struct {
	Ledger       tiergate.Ledger
	Reservations tiergate.ReservationLedger // nil: there are none
	Gauges       tiergate.GaugeLedger       // nil: there are none, and nobody can look without taking
	// Dir is the folder for the usage log and the counters; it must survive a restart of the
	// process, and be on one machine.
	Dir   string
	Spool spool.Options // of the usage log; Dir and Log are set by the Engine
	Log   *slog.Logger  // nil is nowhere
	// Patience is how long a call waits for the ledger when there are no units at hand; 0 is 1 s.
	Patience time.Duration
	// RateKeys is how many rate limits are remembered at once; 0 is 1,000,000.
	RateKeys int
	// FallbackShares is into how many parts a rate that is shared with others is cut while
	// nobody says how many there are; 0 is 16.
	FallbackShares int

	slots, traces int // for tests: how many leases and forgotten counters a holder may have; 0 is maxSlots and maxForgotten
}

// An Engine counts for one process. It spends what the ledger handed out beforehand, and
// records each use in a log on disk before it says yes. Safe for concurrent use. Close it
// after use, so that what it holds can be used by others.
type Engine struct {
	options Options
	log     *slog.Logger
	usage   *spool.Log
	rates   *Rates
	shares  shares
	replays replays
	denials denials
	counts  counts
	start   time.Time // the monotonic clock counts from here

	mu       sync.RWMutex
	accounts map[tiergate.Bucket]*account
	idle     forgotten // accounts of before

	deadline atomic.Int64 // nothing is spent from then on until the ledger is heard
	heard    atomic.Pointer[ledgerTime]
	awayAt   atomic.Int64 // when the ledger last did not answer; 0 while it does

	holder    atomic.Pointer[incarnation]
	outlived  atomic.Bool // it is time for another holder: see succeed
	departing *departing  // the holder of before, until it is retired; the exchange loop's, changed under mu
	ratesFrom int64       // shares of rates are not asked for before; the exchange loop's

	kick     chan struct{}
	listMu   sync.Mutex
	list     []*account    // those that the next exchange asks for
	former   []predecessor // holders of before that are not retired yet; the upload loop's …
	formers  atomic.Int64  // … and how many
	lost     bool          // the ledger has lost what is not kept; the upload loop's …
	stop     context.CancelFunc
	done     sync.WaitGroup
	stopping atomic.Bool
	active   atomic.Int64 // calls that take something
}

// An incarnation is a process as the ledger knows it, for some time.
type incarnation struct {
	id       string
	counters *counters
	began    int64       // the place in the usage log from which on usage is in its name
	doubtful atomic.Bool // some of that may never be counted
	// calls are those under way that may spend in its name; one that goes on as another after
	// it was fenced shares them.
	calls *atomic.Int64
}

// ledgerTime is the ledger's clock as of a moment of our own.
type ledgerTime struct {
	at      time.Time // no later than the ledger's own clock at …
	mono    int64
	holders int
}

// now is the engine's clock: nanoseconds since the start, whatever the wall clock does.
func (e *Engine) now() int64 { return int64(time.Since(e.start)) + 1 }

// Now is the ledger's time, as far as is known; before it was ever heard, the machine's.
func (e *Engine) Now() time.Time {
	h := e.heard.Load()
	if h == nil {
		return time.Now()
	}
	return h.at.Add(time.Duration(e.now() - h.mono))
}

// bucketOf is the bucket of a claim for the period that it is now.
func (e *Engine) bucketOf(c *Claim) tiergate.Bucket {
	key := tiergate.Bucket{Limit: c.Key, Scope: c.Scope, Subject: c.Subject}
	if c.Calendar != nil {
		key.Period = c.Calendar.At(e.Now()).ID
	}
	return key
}

// account returns the account of a claim for the period that it is now, nil when there are
// too many.
func (e *Engine) account(c *Claim, now int64) *account {
	key := tiergate.Bucket{Limit: c.Key, Scope: c.Scope, Subject: c.Subject}
	var period tiergate.Period
	if c.Calendar != nil {
		period = c.Calendar.At(e.Now())
		key.Period = period.ID
	}
	e.mu.RLock()
	a := e.accounts[key]
	e.mu.RUnlock()
	if a != nil {
		return a
	}
	return e.open(key, period, c, now)
}

// open makes an account, or nil when there are too many. The names are copied: they may be a
// request's.
func (e *Engine) open(key tiergate.Bucket, period tiergate.Period, c *Claim, now int64) *account {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.accounts[key]; a != nil {
		return a
	}
	key = cloneBucket(key)
	holder := e.holder.Load()
	a := &account{bucket: key, period: period, holder: holder.id, amount: c.Amount, rev: c.Rev, reserve: c.Fallback.UpTo, usedAt: now}
	var err error
	if a.slot, err = holder.counters.slot(key); err != nil {
		return nil
	}
	if a.holding = e.idle.take(key); a.fence > 0 {
		a.counted = a.spent
		a.slot.upload(a.spent)
		a.kept()
	}
	e.accounts[a.bucket] = a
	return a
}

// A spent is what a claim took, to be recorded or undone.
type spent struct {
	account *account // nil: nothing was debited, it will be when its record arrives
	bucket  tiergate.Bucket
	holder  string
	fence   int64
	units   int64
}

// spend takes a quota claim's units, and waits for the ledger when there are none at hand.
func (e *Engine) spend(ctx context.Context, c *Claim, now int64) (spent, verdict) {
	for range 4 { // the period may end while we wait
		a := e.account(c, now)
		if a == nil && c.Fallback.Allow {
			return spent{bucket: e.bucketOf(c), units: c.Units}, got
		}
		if a == nil {
			return spent{}, away
		}
		a.mu.Lock()
		if a.closed {
			a.mu.Unlock()
			continue
		}
		a.learn(c)
		ok, more := a.take(c.Units, c.Amount, now, e.deadline.Load())
		s := spent{account: a, bucket: a.bucket, holder: a.holder, fence: a.fence, units: c.Units}
		if ok {
			a.mu.Unlock()
			if more {
				e.enlist(a)
			}
			return s, got
		}
		v, known := e.refused(a, c, now)
		if known {
			a.mu.Unlock()
		} else {
			v = e.wait(ctx, a, c, &s)
			now = e.now()
		}
		switch v {
		case got:
			return s, got
		case moved:
			continue
		case elsewhen:
			if a.period.Holds(e.Now()) { // in its last moments nothing more is spent of a period
				sleep(ctx, margin)
				now = e.now()
			}
			continue
		case away:
			return e.fallBack(a, c, now)
		}
		return s, v
	}
	return spent{}, contended
}

// learn takes in what a claim says about its limit.
func (a *account) learn(c *Claim) {
	if c.Rev >= a.rev {
		a.amount, a.rev, a.reserve = c.Amount, c.Rev, c.Fallback.UpTo
	}
}

// How long a denial is repeated without asking again.
const (
	sureFor  = int64(200 * time.Millisecond) // nothing is left and nobody holds any
	doubtFor = int64(20 * time.Millisecond)  // others hold what is left
)

// refused answers without the ledger where its last word was no and is fresh, or where it
// is known not to answer. The caller holds a.mu.
func (e *Engine) refused(a *account, c *Claim, now int64) (verdict, bool) {
	switch since := now - a.deniedAt; {
	case e.away():
		e.enlist(a) // so that it is asked on and on
		return away, true
	case c.Units > c.Amount:
		return exhausted, true
	case a.deniedAt == 0 || c.Units < a.deniedUnits || c.Amount != a.deniedAmount:
	case a.denied == exhausted && since < sureFor, a.denied == contended && since < doubtFor:
		return a.denied, true
	}
	return got, false
}

// enter begins a call that may spend in the name of the holder that it returns, or of one that
// comes after; the caller takes it out of its calls in the end.
func (e *Engine) enter() *incarnation {
	for {
		h := e.holder.Load()
		h.calls.Add(1)
		if h == e.holder.Load() {
			return h
		}
		h.calls.Add(-1) // it had been left already, and nobody may wait for its calls any more
	}
}

// away says that the ledger did not answer when it was last asked.
func (e *Engine) away() bool { return e.awayAt.Load() != 0 }

// wait queues for units and returns what became of it, with whose they are in s. It is called
// with a.mu held, and returns without.
func (e *Engine) wait(ctx context.Context, a *account, c *Claim, s *spent) verdict {
	w := &waiter{units: c.Units, amount: c.Amount, rev: c.Rev, done: make(chan verdict, 1)}
	a.queue = append(a.queue, w)
	a.mu.Unlock()
	e.enlist(a)
	timer := time.NewTimer(e.options.Patience)
	defer timer.Stop()
	select {
	case v := <-w.done:
		s.holder, s.fence = w.holder, w.fence
		return v
	case <-timer.C:
	case <-ctx.Done():
	}
	a.mu.Lock()
	gone := a.leave(w)
	a.mu.Unlock()
	if gone {
		return away
	}
	v := <-w.done
	s.holder, s.fence = w.holder, w.fence
	return v
}

// fallBack does what the limit says for the time when the ledger is away.
func (e *Engine) fallBack(a *account, c *Claim, now int64) (spent, verdict) {
	switch {
	case c.Fallback.Allow:
		return spent{bucket: a.bucket, units: c.Units}, got
	case c.Fallback.UpTo > 0:
		a.mu.Lock()
		defer a.mu.Unlock()
		if now < a.ends && a.emergency+c.Units <= c.Fallback.UpTo && a.spend(c.Units, c.Amount) {
			a.emergency += c.Units
			a.kept()
			return spent{account: a, bucket: a.bucket, holder: a.holder, fence: a.fence, units: c.Units}, got
		}
	}
	return spent{}, away
}

// undo gives back what led to nothing.
func (e *Engine) undo(s *spent) {
	a := s.account
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.holder == s.holder {
		a.undo(s.units, s.fence)
		a.kept()
	}
}

// enlist has the next exchange ask for an account.
func (e *Engine) enlist(a *account) {
	if a.listed.Swap(true) {
		return
	}
	e.listMu.Lock()
	e.list = append(e.list, a)
	e.listMu.Unlock()
	e.wake()
}

// wake has the next exchange sent soon.
func (e *Engine) wake() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}
