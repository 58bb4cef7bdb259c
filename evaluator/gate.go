package evaluator

import (
	"context"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota"
)

// A Counter is what a Gate needs of a quota.Engine; see there.
type Counter interface {
	// Now is the time by the clock that all processes share.
	Now() time.Time
	Check(ctx context.Context, t *quota.Take, states []tiergate.LimitState) (quota.Outcome, []tiergate.LimitState)
	Consume(ctx context.Context, t *quota.Take, states []tiergate.LimitState) (quota.Outcome, []tiergate.LimitState, error)
	Track(ctx context.Context, t *quota.Take) (quota.Outcome, error)
	// Replay answers for a use that was taken before under its key.
	Replay(t *quota.Take) (quota.Outcome, bool, error)
	// Deny counts a use that was denied before anything was counted.
	Deny(t *quota.Take, reason tiergate.UseReason)

	Reserve(ctx context.Context, t *quota.Take, ttl time.Duration, states []tiergate.LimitState) (quota.Outcome, tiergate.Reservation, []tiergate.LimitState, error)
	Extend(ctx context.Context, id string, by tiergate.Owner, ttl time.Duration) (tiergate.Reservation, error)
	Commit(ctx context.Context, id string, by tiergate.Owner, actual int64, capped bool) (tiergate.Reservation, error)
	Release(ctx context.Context, id string, by tiergate.Owner) (tiergate.Reservation, error)
	Reservation(ctx context.Context, id string, by tiergate.Owner) (tiergate.Reservation, error)

	Hold(ctx context.Context, c *quota.Claim, item string) (held int64, err error)
	Drop(ctx context.Context, c *quota.Claim, item string) (held int64, err error)
	Replace(ctx context.Context, c *quota.Claim, items []string) (added, removed int64, err error)
}

// A Gate says who may use what, and takes it: what the Engine decides, and then what the
// Counter counts. It implements tiergate.Gate, tiergate.Reservations and tiergate.Gauges, and is
// safe for concurrent use. The time of exceptions is the Counter's, the same for all processes;
// that of policies and targeting is the request's.
type Gate struct {
	engine  *Engine
	counter Counter
}

// NewGate makes a Gate.
func NewGate(e *Engine, c Counter) *Gate { return &Gate{engine: e, counter: c} }

// judge is the story of one use, up to where it is counted: whether the subject may use the
// feature at all and, if so, which limits the use has to fit into. A boolean flag lets a use
// through when its value is true. Of other flags the value says how much or which, not
// whether: they let a use through when access is granted.
func (q *question) judge() tiergate.UseReason {
	q.resolve() // 1. who asks: the user, the team, what they are on

	if f, ok := q.gen.flag(q.use.Set, q.use.Flag); ok { // 2. the flag, if there is one, as it decides for everybody
		if !f.enabled {
			q.verdict.Decision = f.disabled()
			return tiergate.UseDisabled
		}
		q.verdict.Decision = q.gen.decide(f, &q.subject)
	} else if !q.gen.HasSet(q.use.Set) {
		return tiergate.UseFlagNotFound // a mistyped set must not lift what the flag of that name demands
	} else if reason := q.access(); reason != tiergate.UseAllowed { // … else the policy, about the feature's name
		return reason
	}
	if reason := reasonOf(&q.verdict.Decision); reason != tiergate.UseAllowed {
		return reason
	}

	limits, err := q.limits() // 3. the limits that the policy names for the tier
	if err != nil {
		return q.unanswered(err)
	}
	if limits == nil {
		return tiergate.UseFlagNotFound // neither a flag nor a limit
	}
	return q.claim(limits) // 4. each with the exceptions of its subject
	// 5. the Counter takes all of them or none, and 6. conclude makes the verdict: see Consume.
}

// Check answers as Consume would, and takes nothing.
func (g *Gate) Check(ctx context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	q, err := g.ask(u)
	if err != nil {
		return tiergate.Verdict{}, err
	}
	defer q.release()
	if reason := q.judge(); reason != tiergate.UseAllowed {
		return q.denied(reason), nil
	}
	outcome, states := g.counter.Check(ctx, &q.take, q.room())
	return q.conclude(&outcome, states), nil
}

// Consume takes the use when it is allowed: then its usage is recorded durably.
func (g *Gate) Consume(ctx context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	q, err := g.ask(u)
	if err != nil {
		return tiergate.Verdict{}, err
	}
	defer q.release()
	if reason := q.judge(); reason != tiergate.UseAllowed {
		if outcome, taken, err := g.counter.Replay(&q.take); taken || err != nil {
			return q.replayed(&outcome), err // it was allowed when it was taken
		}
		return q.refused(reason), nil
	}
	outcome, states, err := g.counter.Consume(ctx, &q.take, q.room())
	if err != nil {
		return tiergate.Verdict{}, err
	}
	return q.conclude(&outcome, states), nil
}

// Track records that a use has happened, of whatever feature and whether or not it was
// allowed. It is debited where its limits are known and have a subject.
func (g *Gate) Track(ctx context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	q, err := g.ask(u)
	if err != nil {
		return tiergate.Verdict{}, err
	}
	defer q.release()
	if err := q.happened(); err != nil {
		return tiergate.Verdict{}, err
	}
	outcome, err := g.counter.Track(ctx, &q.take)
	if err != nil {
		return tiergate.Verdict{}, err
	}
	return q.conclude(&outcome, nil), nil
}

// Reserve holds what a use would take, for at most ttl unless extended. The use's key is the
// reservation's id.
func (g *Gate) Reserve(ctx context.Context, u *tiergate.Use, ttl time.Duration) (tiergate.Verdict, tiergate.Reservation, error) {
	none := tiergate.Reservation{}
	if err := validTTL(ttl); err != nil {
		return tiergate.Verdict{}, none, err
	}
	q, err := g.ask(u)
	if err != nil {
		return tiergate.Verdict{}, none, err
	}
	defer q.release()
	if reason := q.judge(); reason != tiergate.UseAllowed {
		return q.refused(reason), none, nil
	}
	if q.take.Key == nil {
		q.identify(uuidText(newID(q.asked())))
	}
	outcome, held, states, err := g.counter.Reserve(ctx, &q.take, ttl, q.room())
	if err != nil {
		return tiergate.Verdict{}, none, err
	}
	return q.conclude(&outcome, states), held, nil
}

// Extend holds a reservation for ttl from now on.
func (g *Gate) Extend(ctx context.Context, id string, by tiergate.Owner, ttl time.Duration) (tiergate.Reservation, error) {
	if err := validTTL(ttl); err != nil {
		return tiergate.Reservation{}, err
	}
	return g.counter.Extend(ctx, id, by, ttl)
}

// Commit settles a reservation with what was really used.
func (g *Gate) Commit(ctx context.Context, id string, by tiergate.Owner, actual int64, capped bool) (tiergate.Reservation, error) {
	if actual > tiergate.MaxAmount {
		return tiergate.Reservation{}, tiergate.FieldErrorf("actual", "actual %d is larger than 2^53", actual)
	}
	return g.counter.Commit(ctx, id, by, actual, capped)
}

// Release ends a reservation that used nothing.
func (g *Gate) Release(ctx context.Context, id string, by tiergate.Owner) (tiergate.Reservation, error) {
	return g.counter.Release(ctx, id, by)
}

// Reservation returns a reservation.
func (g *Gate) Reservation(ctx context.Context, id string, by tiergate.Owner) (tiergate.Reservation, error) {
	return g.counter.Reservation(ctx, id, by)
}
