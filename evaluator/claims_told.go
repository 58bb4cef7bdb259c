package evaluator

import (
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/snapshot"
)

// tell puts into a metered flag's decision which limit it has. An answer that lacks it for a
// moment only is transient.
func (g *Generation) tell(d *tiergate.Decision, s *subject) {
	if d.ErrorCode != "" || d.Denied || d.Reason == tiergate.ReasonDisabled {
		return
	}
	t, err := g.terms(s, d.Tier)
	if err != nil {
		d.Transient = tiergate.CodeOf(err) == tiergate.Unavailable
		return
	}
	d.Limit = g.told(t, s)
}

// told picks the limit to tell of: the first quota that the subject has, else the first limit.
func (g *Generation) told(t *terms, s *subject) *tiergate.FlagLimit {
	var first *tiergate.FlagLimit
	has := false
	team, user := g.view.TeamExceptions(s.scope.Team), g.view.UserExceptions(s.scope.UserID)
	for i := range t.claims {
		who, x := s.scope.UserID, user
		if t.claims[i].Scope == "team" {
			who, x = s.scope.Team, team
		}
		limit, timed := t.toldTo(i, x)
		switch isQuota := t.claims[i].Kind == tiergate.Quota; {
		case who == "" || limit == nil && !timed:
		case isQuota:
			return limit // nil when its amount changes by time
		case !has:
			first, has = limit, true // nil as well
		}
	}
	return first
}

// toldTo is a limit as it is to somebody with exceptions: nil when it is unlimited or timed,
// which is when its amount changes by time alone.
func (t *terms) toldTo(i int, x *snapshot.Exceptions) (limit *tiergate.FlagLimit, timed bool) {
	overrides, grants := x.Of(t.claims[i].Key)
	switch {
	case len(overrides)+len(grants) == 0 && t.free[i]:
		return nil, false
	case len(overrides)+len(grants) == 0:
		return &t.told[i], false
	}
	for _, o := range overrides {
		timed = timed || !o.ExpiresAt.IsZero()
	}
	for _, g := range grants {
		timed = timed || !g.StartsAt.IsZero() || !g.ExpiresAt.IsZero()
	}
	claim := t.claims[i]
	if timed || !except(&claim, t.free[i], x, time.Time{}) { // which no time matters to
		return nil, timed
	}
	return &tiergate.FlagLimit{Key: claim.Key, Amount: claim.Amount, Period: claim.Period}, false
}
