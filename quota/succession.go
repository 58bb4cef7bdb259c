package quota

import (
	"cmp"
	"context"
	"errors"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/tiergate/tiergate"
)

// A departing is a holder that the process leaves for a new one while it serves: account by
// account it gives back what it did not spend, and when all that was used in its name is
// counted it is retired. It is the exchange loop's, but for slots, which Engine.mu guards.
type departing struct {
	*incarnation
	tokens chain
	slots  map[tiergate.Bucket]*slot // of the accounts that were handed over

	accounts []*account          // those that may not have been handed over yet
	said     []*account          // those whose last word has no answer yet …
	asks     []tiergate.LeaseAsk // … and that word
	sent     int64               // when it last spoke, and was answered

	endedAt int64      // when all calls that may have spent in its name were over; 0 before. Then …
	log     string     // … its usage is in this log …
	upTo    int64      // … and ends before this place
	retired chan error // what came of retiring it; nil while nobody tries
	triedAt int64      // when somebody last did
}

// maxHanded is how many accounts are handed over with one message, beside those that are wanted.
const maxHanded = maxAsks / 2

// succeed makes the process another holder, which begins with nothing. The one of before
// departs. It does nothing while another one departs, unless that one cannot come to an end.
func (e *Engine) succeed(tokens *chain) {
	if d := e.departing; e.away() || d != nil && !e.stuck(d) {
		return
	}
	e.outlived.Store(false) // the next sweep asks again if it has to be
	next, err := e.incarnate()
	if err != nil {
		e.log.Error("no counters for a new holder", "error", err)
		return
	}
	if e.departing != nil {
		e.log.Warn("what a holder of before held stays so until the next start: some of its use is not recorded", "holder", e.departing.id)
		e.bury(false)
	}
	e.mu.Lock()
	d := &departing{incarnation: e.holder.Swap(next), tokens: *tokens, slots: map[tiergate.Bucket]*slot{}, sent: e.now()}
	for _, a := range e.accounts {
		d.accounts = append(d.accounts, a)
	}
	e.idle = forgotten{most: e.options.traces}
	e.departing = d
	e.mu.Unlock()
	*tokens = chain{}
	e.log.Info("going on as another holder", "holder", next.id, "before", d.id)
}

// stuck says that a departing holder cannot be retired: the usage log tells of less than it has
// spent, because the disk did not take some of it.
func (e *Engine) stuck(d *departing) bool {
	return d.endedAt != 0 && d.retired == nil && e.now()-d.endedAt > int64(time.Minute) && e.usage.Uploaded() >= d.upTo && !e.settled(d)
}

// settled says whether the ledger has counted all that a departing holder has spent.
func (e *Engine) settled(d *departing) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for bucket, s := range d.slots {
		if s.uploaded() < s.words[slotSpent].Load() {
			return false
		}
		delete(d.slots, bucket)
	}
	return true
}

// depart speaks for the holder that departs, if there is one: for those of its accounts that
// are wanted first, and for some of the others. An error says that the ledger did not answer.
func (e *Engine) depart(ctx context.Context, wanted []*account) error {
	d := e.departing
	if d == nil || d.retired != nil {
		e.buried(ctx)
		return nil
	}
	now := e.now()
	if len(d.said) == 0 && !e.away() {
		e.handOver(d, wanted, now)
	}
	if len(d.said) > 0 || now-d.sent >= int64(heartbeat/2) {
		if err := e.speak(ctx, d); err != nil {
			return err
		}
	}
	e.buried(ctx)
	return nil
}

// handOver closes accounts of a departing holder, which has its last word about each to say.
func (e *Engine) handOver(d *departing, wanted []*account, now int64) {
	for _, a := range wanted {
		e.close(d, a, now)
	}
	for n := 0; n < maxHanded && len(d.accounts) > 0; n++ {
		last := len(d.accounts) - 1
		e.close(d, d.accounts[last], now)
		d.accounts = d.accounts[:last]
	}
}

// close closes an account of a departing holder and opens its successor in the new one's name,
// where somebody wants units. Those who wait begin anew there.
func (e *Engine) close(d *departing, a *account, now int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.holder != d.id {
		return
	}
	a.closed = true
	delete(e.accounts, a.bucket)
	if a.slot != nil {
		d.slots[a.bucket] = a.slot
	}
	if len(a.queue) > 0 || a.target(now) > 0 {
		holder := e.holder.Load()
		if s, err := holder.counters.slot(a.bucket); err == nil {
			next := a.successor(holder.id, s)
			e.accounts[next.bucket] = next
			e.enlist(next)
		}
	}
	if a.fence > 0 {
		d.said, d.asks = append(d.said, a), append(d.asks, a.last())
	}
	a.fail(moved)
}

// last gives back what is left, for ever. The caller holds a.mu.
func (a *account) last() tiergate.LeaseAsk {
	ask := a.ask(tiergate.LeaseAsk{Bucket: a.bucket, Period: a.period, Amount: a.amount, Rev: a.rev})
	a.kept()
	return ask
}

// successor is the account of the same bucket in another holder's name: it holds nothing, and
// what is known of the limit and of its use stays known. The caller holds a.mu.
func (a *account) successor(holder string, s *slot) *account {
	return &account{
		bucket: a.bucket, period: a.period, holder: holder, slot: s, over: a.over,
		amount: a.amount, rev: a.rev, reserve: a.reserve, emergency: a.emergency,
		denied: a.denied, deniedAt: a.deniedAt, deniedUnits: a.deniedUnits, deniedAmount: a.deniedAmount,
		told: a.told, most: a.most - a.spent, others: a.others, asOf: a.asOf,
		usedAt: a.usedAt, recalled: a.recalled, rate: a.rate, measured: a.measured, counted: a.counted - a.spent,
	}
}

// speak sends what a departing holder has to say. It asks for the shares of rates too, which
// another holder could not have before this one is gone.
func (e *Engine) speak(ctx context.Context, d *departing) error {
	x := tiergate.Exchange{Holder: d.id, Asks: d.asks, Rates: e.shares.asks(e.now())}
	x.Previous, x.Token = d.tokens.next(uuid.NewString)
	d.counters.setTokens(x.Previous, x.Token)
	sent := e.now()
	out, err := e.ask(ctx, x)
	switch {
	case errors.Is(err, tiergate.ErrFenced):
		e.log.Error("the ledger took another process for a holder of before: what it held is set aside", "holder", d.id)
		e.counts.fenced.Add(1)
		for len(d.accounts) > 0 {
			e.handOver(d, nil, e.now())
		}
		e.doubt(d.incarnation, "another process spoke in its name")
	case err != nil:
		return err
	default:
		d.tokens.answered()
		d.sent = sent
		e.shares.hear(x.Rates, out.Shares, sent+int64(out.TTL-margin))
	}
	for _, a := range d.said {
		a.mu.Lock()
		a.returned(true)
		a.mu.Unlock()
	}
	d.said, d.asks = nil, nil
	return nil
}

// buried brings a departing holder to its end, once nothing can be spent in its name and all
// that was is counted.
func (e *Engine) buried(ctx context.Context) {
	d := e.departing
	switch {
	case d == nil, len(d.accounts)+len(d.said) > 0, d.calls.Load() > 0:
		return
	case d.retired != nil:
		e.heardOfEnd(d)
		return
	case d.doubtful.Load():
		e.bury(false)
		return
	}
	now := e.now()
	if d.endedAt == 0 {
		d.endedAt, d.log, d.upTo = now, e.usage.ID(), e.usage.End()
	}
	if e.usage.Uploaded() < d.upTo || e.away() || d.triedAt != 0 && now-d.triedAt < int64(heartbeat) || !e.settled(d) {
		return
	}
	d.retired, d.triedAt = make(chan error, 1), now
	e.done.Go(func() {
		err := e.retireOwn(ctx, d.incarnation, d.log, d.upTo)
		d.retired <- err
		e.wake()
	})
}

// heardOfEnd takes in what came of retiring a departing holder.
func (e *Engine) heardOfEnd(d *departing) {
	select {
	case err := <-d.retired:
		d.retired = nil
		switch code := tiergate.CodeOf(err); {
		case code == "":
			e.bury(true)
		case code == tiergate.Conflict && errors.Is(err, tiergate.ErrFenced):
			e.doubt(d.incarnation, err.Error())
			e.bury(false)
		}
	default:
	}
}

// bury forgets the holder that departs, and removes its counter file or leaves it to the next
// process.
func (e *Engine) bury(remove bool) {
	e.mu.Lock()
	d := e.departing
	e.departing = nil
	e.mu.Unlock()
	if err := d.counters.close(remove); err != nil {
		e.log.Warn("a counter file is left behind", "holder", d.id, "error", err)
	}
	if !remove {
		e.ratesFrom = e.now() + int64(TTL+Grace) // until then the ledger keeps its shares for it
	} else {
		e.log.Info("a holder of before gave back all that it had not used", "holder", d.id)
	}
}

// retireOwn retires a holder of this process, once all of its usage is counted: it is in a log,
// before a place.
func (e *Engine) retireOwn(ctx context.Context, h *incarnation, log string, at int64) error {
	ctx, cancel := context.WithTimeout(ctx, retireTime)
	defer cancel()
	previous, token := tokensIn(h.counters.data)
	return e.options.Ledger.Retire(ctx, tiergate.Retirement{
		Holder: h.id, Previous: previous, Token: cmp.Or(token, previous), Log: log, At: at,
	})
}

// retireTime is how long the ledger may take to retire a holder: it had leases of very many buckets.
const retireTime = 30 * time.Second

// doubt says that some use in a holder's name may never be counted: what it did not use is
// given back by its own word only, and by nobody who comes after it.
func (e *Engine) doubt(h *incarnation, why string) {
	if h.doubtful.Swap(true) {
		return
	}
	e.log.Error("what this process held as one holder may be lost until somebody reconciles it", "holder", h.id, "reason", why)
	e.counts.abandoned.Add(1)
	_ = os.Remove(h.counters.path)
}
