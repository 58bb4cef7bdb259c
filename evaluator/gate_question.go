package evaluator

import (
	"sync"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/policy"
	"github.com/tiergate/tiergate/quota"
	"github.com/tiergate/tiergate/snapshot"
)

// maxClaims is how many limits a policy may name for one use.
const maxClaims = 16

// A question is one use on its way through the Gate. It is pooled, because the policy and
// the Counter take pointers into it.
type question struct {
	gate    *Gate
	gen     *Generation
	use     *tiergate.Use
	subject subject
	known   bool   // the subject was resolved
	terms   *terms // the limits that the policy names
	claims  [maxClaims]quota.Claim
	key     tiergate.UsageKey
	take    quota.Take
	message string // why, where the reason alone does not say it
	verdict tiergate.Verdict
}

var questions = sync.Pool{New: func() any { return new(question) }}

// ask begins with a use that can be asked about, on the generation in force.
func (g *Gate) ask(u *tiergate.Use) (*question, error) {
	gen := g.engine.current.Load()
	if gen == nil {
		return nil, tiergate.Errorf(tiergate.Unavailable, "the configuration has not been loaded yet")
	}
	if err := validUse(u); err != nil {
		return nil, err
	}
	q := questions.Get().(*question)
	q.gate, q.gen, q.use = g, gen, u
	q.take.Metadata = u.Metadata
	if u.IdempotencyKey != "" {
		q.identify(u.IdempotencyKey)
	}
	q.verdict.Resume = gen.Resume()
	return q, nil
}

// identify makes the use known by a key, of which nobody meets another team's.
func (q *question) identify(key string) {
	q.key = tiergate.UsageKey{Key: key, Fingerprint: q.use.Fingerprint}
	if q.use.Key != nil {
		q.key.Scope = q.use.Key.TeamID
	}
	q.take.Key = &q.key
}

// release gives q back without the caller's memory.
func (q *question) release() {
	if q.known {
		q.subject.policy.Done()
	}
	clear(q.claims[:len(q.take.Claims)])
	q.gate, q.gen, q.use, q.terms, q.known = nil, nil, nil, nil, false
	q.subject, q.key, q.take = subject{}, tiergate.UsageKey{}, quota.Take{}
	q.message, q.verdict = "", tiergate.Verdict{}
	questions.Put(q)
}

// resolve finds out who asks.
func (q *question) resolve() {
	q.subject.resolve(q.gen, &q.use.Request)
	q.known = true
	q.take.TeamID, q.take.UserID, q.take.Feature = q.subject.scope.Team, q.use.UserID, q.use.Flag
}

// unheard says that there is neither a flag nor a limit of that name, without asking the
// policy about every name that callers think of.
func (q *question) unheard() bool {
	return q.gen.limited.features[q.use.Flag] == nil && q.gen.policy.LimitsDefined()
}

// access asks the policy about a feature that has no flag.
func (q *question) access() tiergate.UseReason {
	if q.unheard() {
		return tiergate.UseFlagNotFound
	}
	a, err := q.subject.policy.Access(q.gen.limited.feature(q.use.Flag))
	if err != nil {
		return q.unanswered(err)
	}
	d := &q.verdict.Decision
	d.Tier = a.Tier
	if !a.Allow {
		d.Denied, d.DenyReason, d.Upgrade = true, a.Reason, a.Upgrade
	}
	return tiergate.UseAllowed
}

// reasonOf says whether a decision lets a use through, and why not.
func reasonOf(d *tiergate.Decision) tiergate.UseReason {
	switch {
	case d.ErrorCode != "":
		return tiergate.UseUnavailable
	case d.Denied && d.DenyReason == "tier":
		return tiergate.UseTier
	case d.Denied:
		return tiergate.UsePolicy
	case d.Type == tiergate.Boolean && string(d.Value) != "true":
		return tiergate.UseTargeting
	}
	return tiergate.UseAllowed
}

func (q *question) unanswered(err error) tiergate.UseReason {
	q.message = policy.PublicMessage(err)
	return tiergate.UseUnavailable
}

// limits asks the policy which limits apply on the tier. It returns nil for a feature that is
// neither a flag nor limited at all.
func (q *question) limits() (*terms, error) {
	if q.subject.input.Feature == nil { // the policy was not even asked
		return nil, nil
	}
	t, err := q.gen.terms(&q.subject, q.verdict.Decision.Tier)
	if err == nil && len(t.claims) == 0 && q.verdict.Decision.Type == "" && q.gen.limited.features[q.use.Flag] == nil {
		return nil, nil
	}
	q.terms = t
	return t, err
}

// claim makes the claims of a use: one for each limit that has an amount for its subject.
// INVALID_CONTEXT is a limit whose subject is not known.
func (q *question) claim(t *terms) tiergate.UseReason {
	q.take.Units = q.units(t)
	missing := q.claimKnown(t)
	if missing == nil {
		return tiergate.UseAllowed
	}
	q.verdict.Denied, q.message = missing.Key, needsTeam
	if missing.Scope == "user" {
		q.message = needsUser
	}
	return tiergate.UseInvalid
}

// claimKnown claims what has a subject, and returns the first limit that has none.
func (q *question) claimKnown(t *terms) (missing *quota.Claim) {
	n, rev := 0, q.verdict.Resume.Rev
	team, user := q.exceptions()
	var now time.Time
	if team != nil || user != nil {
		now = q.gate.counter.Now()
	}
	for i := range t.claims {
		c := &q.claims[n]
		*c = t.claims[i]
		x := user
		if c.Subject = q.take.UserID; c.Scope == "team" {
			c.Subject, x = q.take.TeamID, team
		}
		limited := !t.free[i]
		if x != nil {
			limited = except(c, t.free[i], x, now)
		}
		switch {
		case !limited:
			*c = quota.Claim{}
		case c.Subject == "":
			if missing == nil {
				missing = &t.claims[i]
			}
			*c = quota.Claim{}
		default:
			c.Units, c.Rev = units(c, q.use.Cost), rev
			n++
		}
	}
	q.take.Claims = q.claims[:n]
	return missing
}

// exceptions are those of the team, if one applies, and of the user.
func (q *question) exceptions() (team, user *snapshot.Exceptions) {
	if q.take.TeamID != "" {
		team = q.gen.view.TeamExceptions(q.take.TeamID)
	}
	if q.take.UserID != "" {
		user = q.gen.view.UserExceptions(q.take.UserID)
	}
	return team, user
}

// units is what the usage record says: the caller's cost, else that of the first quota, which
// may be unlimited, else 1.
func (q *question) units(t *terms) int64 {
	if q.use.Cost != 0 {
		return q.use.Cost
	}
	for i := range t.claims {
		if t.claims[i].Kind == tiergate.Quota {
			return t.claims[i].Units
		}
	}
	return 1
}

// happened prepares a use that is only recorded. What does not depend on the subject's
// access is not asked; without an answer of the policy nothing is debited, unless it may
// have one soon.
func (q *question) happened() error {
	if err := q.validTrack(); err != nil {
		return err
	}
	q.resolve()
	q.take.At, q.take.Units = q.use.At, max(q.use.Cost, 1)
	var feature *policy.Feature
	if f, ok := q.gen.flag(q.use.Set, q.use.Flag); ok {
		feature = f.feature // nil of one that is quarantined
	} else if q.unheard() {
		return nil
	}
	if feature == nil {
		feature = q.gen.limited.feature(q.use.Flag)
	}
	a, err := q.subject.policy.Access(feature)
	if err == nil {
		q.verdict.Decision.Tier = a.Tier
		var t *terms
		if t, err = q.limits(); err == nil && t != nil {
			q.take.Units = q.units(t)
			q.claimKnown(t)
		}
	}
	if tiergate.CodeOf(err) == tiergate.Unavailable {
		return tiergate.Errorf(tiergate.Unavailable, "%s", policy.PublicMessage(err)).Because(err)
	}
	return nil
}
