package evaluator

import (
	"context"
	"errors"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota"
)

const (
	// maxItems bounds one Replace.
	maxItems = 10_000
	// retryAway is when to ask again after nobody who counts has answered.
	retryAway = 500 * time.Millisecond
)

// Hold puts an item into what the subject holds of the feature, when the feature is open to it
// and there is room. A feature has one gauge: the first that the policy names for it.
func (g *Gate) Hold(ctx context.Context, u *tiergate.Use, item string) (tiergate.Verdict, error) {
	if err := validItems("item", item); err != nil {
		return tiergate.Verdict{}, err
	}
	q, err := g.ask(u)
	if err != nil {
		return tiergate.Verdict{}, err
	}
	defer q.release()
	if reason := q.judge(); reason != tiergate.UseAllowed && reason != tiergate.UseInvalid {
		return q.refused(reason), nil
	}
	return q.gauge(func(c *quota.Claim) (int64, error) { return g.counter.Hold(ctx, c, item) })
}

// Drop takes an item out, also where the subject may no longer use the feature.
func (g *Gate) Drop(ctx context.Context, u *tiergate.Use, item string) (tiergate.Verdict, error) {
	if err := validItems("item", item); err != nil {
		return tiergate.Verdict{}, err
	}
	return g.settle(u, func(c *quota.Claim) (int64, error) { return g.counter.Drop(ctx, c, item) })
}

// Replace makes items all that is held, whatever the limit and whether or not the subject may
// use the feature.
func (g *Gate) Replace(ctx context.Context, u *tiergate.Use, items []string) (tiergate.Verdict, error) {
	if err := validItems("items", items...); err != nil {
		return tiergate.Verdict{}, err
	}
	return g.settle(u, func(c *quota.Claim) (int64, error) {
		_, _, err := g.counter.Replace(ctx, c, items)
		return int64(len(items)), err
	})
}

// settle does what needs no access to the feature.
func (g *Gate) settle(u *tiergate.Use, do func(*quota.Claim) (int64, error)) (tiergate.Verdict, error) {
	q, err := g.ask(u)
	if err != nil {
		return tiergate.Verdict{}, err
	}
	defer q.release()
	if err := q.happened(); err != nil {
		return tiergate.Verdict{}, err
	}
	return q.gauge(do)
}

// gauge does something with the feature's gauge and makes the verdict of how much is held then.
func (q *question) gauge(do func(*quota.Claim) (int64, error)) (tiergate.Verdict, error) {
	q.verdict.Denied, q.message = "", "" // what the feature's other limits need does not matter
	c, reason := q.gaugeClaim()
	if reason != tiergate.UseAllowed {
		return q.refused(reason), nil
	}
	q.take.Claims = q.claims[:1]
	q.claims[0] = c
	held, err := do(&q.claims[0])
	outcome := quota.Outcome{Reason: tiergate.UseAllowed, Denied: -1}
	switch short, _ := errors.AsType[*tiergate.ShortError](err); {
	case short != nil:
		outcome, held = quota.Outcome{Reason: tiergate.UseExhausted}, c.Amount-short.Available
		q.gate.counter.Deny(&q.take, outcome.Reason)
	case tiergate.CodeOf(err) == tiergate.Unavailable:
		outcome.Reason, outcome.RetryAfter = tiergate.UseUnavailable, retryAway
		q.gate.counter.Deny(&q.take, outcome.Reason)
		return q.conclude(&outcome, nil), nil
	case err != nil:
		return tiergate.Verdict{}, err
	}
	if c.Amount == tiergate.MaxAmount { // as good as unlimited
		return q.conclude(&outcome, nil), nil
	}
	left := max(c.Amount-held, 0)
	state := tiergate.LimitState{Key: c.Key, Kind: c.Kind, Amount: c.Amount, Min: left, Max: left, Exact: true, AsOf: q.gate.counter.Now(), ResetsIn: -1}
	return q.conclude(&outcome, append(q.room(), state)), nil
}

// gaugeClaim claims the feature's gauge. An unlimited one has room for all there can be, and is
// kept all the same: a limit may come later.
func (q *question) gaugeClaim() (c quota.Claim, reason tiergate.UseReason) {
	t, err := q.limits()
	if err != nil {
		return c, q.unanswered(err)
	}
	if t == nil {
		return c, tiergate.UseFlagNotFound
	}
	team, user := q.exceptions()
	for i := range t.claims {
		if t.claims[i].Kind != tiergate.Gauge {
			continue
		}
		c = t.claims[i]
		x, missing := user, needsUser
		if c.Subject = q.take.UserID; c.Scope == "team" {
			c.Subject, x, missing = q.take.TeamID, team, needsTeam
		}
		if c.Subject == "" {
			q.verdict.Denied, q.message = c.Key, missing
			return c, tiergate.UseInvalid
		}
		if !except(&c, t.free[i], x, q.gate.counter.Now()) {
			c.Amount = tiergate.MaxAmount
		}
		c.Rev = q.verdict.Resume.Rev
		return c, tiergate.UseAllowed
	}
	q.message = "This feature has no gauge: there is nothing to hold"
	return c, tiergate.UseFlagNotFound
}

func validItems(field string, items ...string) error {
	if len(items) > maxItems {
		return tiergate.FieldErrorf(field, "there are more than %d items", maxItems)
	}
	seen := map[string]bool{}
	for _, item := range items {
		if item == "" || !validID(item) {
			return tiergate.FieldErrorf(field, "an item is a text of 1 to %d bytes", maxSubject)
		}
		if seen[item] {
			return tiergate.FieldErrorf(field, "item %.40q is there twice", item)
		}
		seen[item] = true
	}
	return nil
}

// hurried is a Gate that waits for nobody.
type hurried struct {
	*Gate
	ctx context.Context
}

// Hurried returns a Gate whose Check says what this process knows and asks nobody, for callers
// on whose way nothing may wait. What is left of a limit that is not known here has no AsOf.
func (g *Gate) Hurried() tiergate.Gate {
	return hurried{g, quota.Hurried(context.Background())}
}

// Check implements tiergate.Gate. As it never waits, there is nothing to cancel.
func (h hurried) Check(_ context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	return h.Gate.Check(h.ctx, u)
}
