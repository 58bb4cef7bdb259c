package quota

import (
	"time"

	"github.com/tiergate/tiergate"
)

// rated is a rate claim that was taken, to be undone.
type rated struct {
	claim int
	rate  Rate
	key   RateKey
	at    int64
}

// rateOf returns a claim's key and the rate that counts for it here: the whole rate, or the
// share that this process has of it.
func (e *Engine) rateOf(c *Claim, now int64) (RateKey, Rate) {
	rate := Rate{Amount: c.Amount, Period: c.Period, Burst: c.Burst, Share: Whole}
	if c.Leased {
		var news bool
		if rate.Share, news = e.shares.of(c, now, int64(Whole/e.options.FallbackShares)); news {
			e.wake()
		}
	}
	return e.rates.Key(c.Key, c.Scope, c.Subject), rate
}

// takeRate takes a rate claim's units, and says when to ask again when there is no room.
func (e *Engine) takeRate(c *Claim, i int, now int64) (r rated, ok bool, retry time.Duration) {
	key, rate := e.rateOf(c, now)
	ok, state := e.rates.Take(key, rate, c.Units, now)
	return rated{claim: i, rate: rate, key: key, at: now}, ok, max(0, state.RetryAfter)
}

func (e *Engine) undoRate(r *rated, units int64) {
	e.rates.Undo(r.key, r.rate, units, r.at, e.now())
}

func (e *Engine) peekRate(c *Claim, now int64) (bool, time.Duration) {
	key, rate := e.rateOf(c, now)
	ok, state := e.rates.Peek(key, rate, c.Units, now)
	return ok, max(0, state.RetryAfter)
}

// rateState says what is left of a rate. It is exact here; where the rate is shared, others
// have their shares.
func (e *Engine) rateState(c *Claim, s *tiergate.LimitState) {
	key, rate := e.rateOf(c, e.now())
	_, state := e.rates.Peek(key, rate, 1, e.now())
	s.Min, s.Max, s.Exact, s.ResetsIn, s.AsOf = state.Remaining, state.Remaining, true, state.ResetsIn, e.Now()
	if c.Leased {
		s.Max, s.Exact = max(s.Min, c.Burst), false
	}
}
