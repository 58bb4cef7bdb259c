package quota

import (
	"context"
	"time"

	"github.com/tiergate/tiergate"
)

// Check says what Consume would, and takes nothing. What it does not know of a quota it asks
// the ledger, unless ctx is one that Hurried made: then it says what it knows.
func (e *Engine) Check(ctx context.Context, t *Take, states []tiergate.LimitState) (Outcome, []tiergate.LimitState) {
	first := len(states)
	states = e.states(t, states)
	out := Outcome{Reason: tiergate.UseAllowed, Denied: -1}
	hurried := ctx.Value(hurry{}) != nil
	for i := range t.Claims {
		if out.Reason != tiergate.UseAllowed {
			break
		}
		switch c, s := &t.Claims[i], &states[first+i]; c.Kind {
		case tiergate.Rate:
			if ok, retry := e.peekRate(c, e.now()); !ok {
				out = Outcome{Reason: tiergate.UseRateLimited, Denied: i, RetryAfter: retry}
			}
		case tiergate.Quota:
			out = e.checkQuota(ctx, c, s, i, hurried)
		default:
			if !hurried {
				out = e.checkHeld(ctx, c, s, i)
			}
		}
	}
	if out.Reason == tiergate.UseAllowed {
		if err := e.usage.Refuses(); err != nil {
			out = unrecordable(err)
		}
	}
	return out, states
}

type hurry struct{}

// Hurried makes a context in which Check asks nobody.
func Hurried(ctx context.Context) context.Context { return context.WithValue(ctx, hurry{}, true) }

// checkQuota says whether a quota has as much left, and puts what is left into s.
func (e *Engine) checkQuota(ctx context.Context, c *Claim, s *tiergate.LimitState, i int, hurried bool) Outcome {
	fresh := !s.AsOf.IsZero() && (s.Min >= c.Units || e.Now().Sub(s.AsOf) < heartbeat)
	if !fresh && !hurried && e.options.Gauges != nil {
		left, err := e.peek(ctx, c)
		switch {
		case err == nil:
			s.Min = max(0, left.Available+e.atHand(c))
			s.Max = max(s.Min, left.Available+left.Outstanding)
			s.Exact, s.AsOf = s.Min == s.Max, e.Now()
		case s.Min < c.Units && !c.Fallback.Allow:
			return e.refusal(c, i, away)
		}
	}
	switch {
	case s.AsOf.IsZero(), s.Min >= c.Units:
		return Outcome{Reason: tiergate.UseAllowed, Denied: -1}
	case s.Max >= c.Units:
		return e.refusal(c, i, contended)
	}
	return e.refusal(c, i, exhausted)
}

// checkHeld is checkQuota for a limit that is held, not used up.
func (e *Engine) checkHeld(ctx context.Context, c *Claim, s *tiergate.LimitState, i int) Outcome {
	var d draft
	out := e.room(ctx, c, i, &d)
	for _, l := range d.looked {
		l.put(s, e.Now())
	}
	return out
}

// atHand is what this process holds of a claim's quota.
func (e *Engine) atHand(c *Claim) int64 {
	a := e.known(c)
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rest()
}

// known returns the account of a claim, nil when there is none.
func (e *Engine) known(c *Claim) *account {
	key := e.bucketOf(c)
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.accounts[key]
}

// states appends what is left of each claim's limit, as far as is known here.
func (e *Engine) states(t *Take, states []tiergate.LimitState) []tiergate.LimitState {
	for i := range t.Claims {
		c := &t.Claims[i]
		s := tiergate.LimitState{
			Key: c.Key, Kind: c.Kind, Period: c.Period, Amount: c.Amount, Burst: c.Burst, Max: c.Amount, ResetsIn: -1,
		}
		switch c.Kind {
		case tiergate.Rate:
			e.rateState(c, &s)
		case tiergate.Quota:
			s.ResetsIn = e.resetsIn(c)
			if a := e.known(c); a != nil {
				h := e.heard.Load()
				a.left(&s, h != nil && h.holders == 1)
			}
		}
		states = append(states, s)
	}
	return states
}

// resetsIn is the time until the claim's next period; negative means never.
func (e *Engine) resetsIn(c *Claim) time.Duration {
	if c.Calendar == nil {
		return -1
	}
	now := e.Now()
	end := c.Calendar.At(now).End
	if end.IsZero() {
		return -1
	}
	return max(0, end.Sub(now))
}
