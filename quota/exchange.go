package quota

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tiergate/tiergate"
)

const (
	// heartbeat is how often the ledger is told that we live, and is asked whether others
	// lack what we hold, while we hold anything.
	heartbeat = time.Second
	// maxAsks is how many leases one exchange is about.
	maxAsks = 512
	// answerTime is how long the ledger may take for an answer.
	answerTime = 3 * time.Second
	// margin is by how much earlier than the ledger said we stop spending: clocks that run
	// at different speeds.
	margin = 100 * time.Millisecond
	// lowestPause and highestPause bound the pauses between attempts while the ledger is away.
	lowestPause, highestPause = 50 * time.Millisecond, 500 * time.Millisecond
)

// exchanges talks with the ledger until ctx ends: one message at a time.
func (e *Engine) exchanges(ctx context.Context) {
	var tokens chain
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	pause := lowestPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.kick:
		case <-tick.C:
			e.sweep(e.now())
		}
		for again := true; again && ctx.Err() == nil; {
			var err error
			again, err = e.exchange(ctx, &tokens)
			if err == nil {
				pause = lowestPause
				continue
			}
			sleep(ctx, pause/2+rand.N(pause/2))
			pause = min(2*pause, highestPause)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// exchange sends one message about the listed accounts and takes in the answer. It says
// whether there is more to send.
func (e *Engine) exchange(ctx context.Context, tokens *chain) (again bool, err error) {
	if e.outlived.Load() {
		e.succeed(tokens)
	}
	now := e.now()
	accounts, again := e.listed()
	if err := e.depart(ctx, accounts); err != nil {
		e.unheard(ctx, err, accounts, tokens)
		return true, err
	}
	accounts = e.own(accounts)
	x := tiergate.Exchange{Holder: e.holder.Load().id, Asks: make([]tiergate.LeaseAsk, len(accounts))}
	if e.departing == nil && now >= e.ratesFrom {
		x.Rates = e.shares.asks(now)
	}
	if len(accounts)+len(x.Rates) == 0 && !e.holds() && !e.away() {
		return false, nil
	}
	x.Previous, x.Token = tokens.next(uuid.NewString)
	e.holder.Load().counters.setTokens(x.Previous, x.Token)
	for i, a := range accounts {
		a.mu.Lock()
		x.Asks[i] = a.message(now)
		a.mu.Unlock()
	}
	sent := e.now()
	out, err := e.ask(ctx, x)
	if err != nil {
		e.unheard(ctx, err, accounts, tokens)
		return true, err
	}
	tokens.answered()
	if d := e.departing; d != nil && len(d.accounts) > 0 {
		sent = min(sent, d.sent) // what that one holds is spent as well
	}
	e.hear(x, out, accounts, sent)
	return again, nil
}

// ask sends a message to the ledger.
func (e *Engine) ask(ctx context.Context, x tiergate.Exchange) (tiergate.Exchanged, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	out, err := e.options.Ledger.Exchange(ctx, x)
	if err == nil && (len(out.Answers) != len(x.Asks) || len(out.Shares) != len(x.Rates)) {
		err = tiergate.Errorf(tiergate.Internal, "the ledger's answer does not fit the question")
	}
	return out, err
}

// own returns those of the accounts that are in the holder's name. What a departing holder has
// is listed again.
func (e *Engine) own(accounts []*account) []*account {
	holder := e.holder.Load().id
	return slices.DeleteFunc(accounts, func(a *account) bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		other := a.holder != holder
		if other && !a.closed {
			e.enlist(a)
		}
		return other || a.closed
	})
}

// listed takes the accounts that are to be asked for, at most maxAsks.
func (e *Engine) listed() (accounts []*account, more bool) {
	e.listMu.Lock()
	defer e.listMu.Unlock()
	n := min(len(e.list), maxAsks)
	accounts = append(accounts, e.list[:n]...)
	e.list = slices.Delete(e.list, 0, n)
	for _, a := range accounts {
		a.listed.Store(false)
	}
	return accounts, len(e.list) > 0
}

// hear takes in an answer.
func (e *Engine) hear(x tiergate.Exchange, out tiergate.Exchanged, accounts []*account, sent int64) {
	now := e.now()
	deadline := sent + int64(out.TTL-margin)
	e.deadline.Store(deadline)
	e.heard.Store(&ledgerTime{at: out.Now, mono: now, holders: out.Holders})
	e.awayAt.Store(0)
	e.counts.exchanges.Add(1)
	for i, a := range accounts {
		a.mu.Lock()
		if a.holder == x.Holder {
			a.ends = endOf(a.period, out.Now, sent)
			a.asOf = out.Now
			a.hear(&x.Asks[i], &out.Answers[i], now, deadline)
		}
		waits := len(a.queue) > 0
		a.mu.Unlock()
		if waits {
			e.enlist(a)
		}
	}
	e.shares.hear(x.Rates, out.Shares, deadline)
	for _, key := range out.Recall {
		e.recall(key, now)
	}
}

// endOf is when a period is over on our clock, at the latest when it is on the ledger's.
func endOf(p tiergate.Period, ledger time.Time, sent int64) int64 {
	const never = int64(1) << 62
	if p.End.IsZero() {
		return never
	}
	left := p.End.Sub(ledger)
	if left > time.Duration(never-sent) {
		return never
	}
	return sent + int64(left-margin)
}

// recall gives back what is held without need where others lack it.
func (e *Engine) recall(key tiergate.Bucket, now int64) {
	e.mu.RLock()
	a := e.accounts[key]
	e.mu.RUnlock()
	if a == nil {
		return
	}
	a.mu.Lock()
	a.recalled = now + int64(RecallFor)
	idle := len(a.queue) == 0 && a.rest() > 0
	a.mu.Unlock()
	if idle {
		e.enlist(a)
	}
}

// unheard handles a ledger that did not answer, or did not want to.
func (e *Engine) unheard(ctx context.Context, err error, accounts []*account, tokens *chain) {
	if errors.Is(err, tiergate.ErrFenced) {
		e.log.Error("the ledger took another process for this one: starting anew as another holder, what was held is set aside", "holder", e.holder.Load().id)
		*tokens = chain{}
		e.counts.fenced.Add(1)
		e.deadline.Store(0) // whatever comes of the new name, nothing is spent under the old one
		e.awayAt.Store(e.now())
		if err := e.reincarnate(); err != nil {
			e.log.Error("no counters for a new holder", "error", err)
		}
	} else if ctx.Err() == nil {
		if e.awayAt.Load() == 0 {
			e.log.Warn("the ledger does not answer", "error", err)
		}
		e.counts.failures.Add(1)
		e.awayAt.Store(e.now())
	}
	for _, a := range accounts {
		a.mu.Lock()
		a.fail(away)
		a.mu.Unlock()
		e.enlist(a) // what it was about is still to be said
	}
}

// holds says whether there is anything that the ledger would set apart if we were silent.
func (e *Engine) holds() bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, a := range e.accounts {
		a.mu.Lock()
		held := a.rest() > 0 && !a.sealed
		a.mu.Unlock()
		if held {
			return true
		}
	}
	return false
}

// idleFor is when an account that nobody uses is forgotten.
const idleFor = int64(2 * TTL)

// sweep gives back what is held idly, and forgets accounts that are over.
func (e *Engine) sweep(now int64) {
	ledger, holder := e.Now(), e.holder.Load()
	if holder.counters.head.Log != e.usage.ID() { // nobody who comes after us would believe it
		e.outlived.Store(true)
	}
	crowded := holder.counters.crowded()
	var over []*account
	e.mu.RLock()
	for _, a := range e.accounts {
		a.mu.Lock()
		a.over = !a.period.Holds(ledger)
		idle := len(a.queue) == 0 && (a.over || now < a.recalled || now-a.usedAt > int64(ride))
		ask := idle && a.fence > 0 && !a.sealed
		if idle && !ask && (a.over || crowded || now-a.usedAt > idleFor) && a.settled() {
			over = append(over, a)
		}
		a.mu.Unlock()
		if ask {
			e.enlist(a)
		}
	}
	e.mu.RUnlock()
	e.forget(over, ledger)
}

// forget closes accounts, unless somebody uses them again.
func (e *Engine) forget(over []*account, ledger time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	holder := e.holder.Load().id
	for _, a := range over {
		a.mu.Lock()
		switch {
		case len(a.queue) > 0, a.listed.Load(), !a.settled(), a.fence > 0 && !a.sealed:
		case a.holder != holder: // of one that departs: see close
		case !e.idle.add(a, ledger):
			e.outlived.Store(true)
		default:
			a.closed = true
			delete(e.accounts, a.bucket)
			a.slot.free()
			a.slot = nil // somebody may still undo a use
		}
		a.mu.Unlock()
	}
}
