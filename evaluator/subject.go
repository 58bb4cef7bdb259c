package evaluator

import (
	"sync"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator/targeting"
	"github.com/tiergate/tiergate/policy"
	"github.com/tiergate/tiergate/snapshot"
)

// A subject is who asks, resolved for one request: what the policy and targeting are
// told. It is pooled, because the policy takes a pointer to it.
type subject struct {
	input  policy.Input
	policy policy.Asker
	scope  targeting.Scope
	named  string // the tier that rules see while none is defined
}

var subjects = sync.Pool{New: func() any { return new(subject) }}

// release gives s back without the caller's memory.
func (s *subject) release() {
	s.policy.Done()
	*s = subject{}
	subjects.Put(s)
}

// resolve finds the user, the team and their tiers. The team is that of the credential,
// else the one that the request names, else the user's only one.
func (s *subject) resolve(g *Generation, req *tiergate.Request) {
	in := &s.input
	in.Attributes, in.Subject.Key, in.Subject.UserID = req.Attributes, req.Key, req.UserID
	teamID := req.TeamID
	if req.Key != nil && req.Key.TeamID != "" {
		teamID = req.Key.TeamID
	}
	var team *snapshot.Team
	if teamID != "" {
		team = g.view.Team(teamID)
	}
	if req.UserID != "" {
		if user, ok := g.view.User(req.UserID); ok {
			team = s.resolveUser(g, user, team, teamID)
		}
	}
	if team != nil {
		in.Subject.Team = team.Derived(newTeam).(*policy.Team)
	}
	if g.trustContextTier {
		s.trustTier(g, req.Attributes)
	}
	if in.Subject.TeamApplies() {
		s.scope.Team = team.ID
	}
	s.scope.Attributes, s.scope.UserID = req.Attributes, req.UserID
	s.setTime(g, req.Now)
	s.policy = g.policy.Ask(in)
}

func newTeam(row *tiergate.Team) any { return policy.NewTeam(row) }

// resolveUser takes in what is known of the user and returns the team: the one asked for,
// or, when none was, the only one that the user is in.
func (s *subject) resolveUser(g *Generation, user snapshot.User, team *snapshot.Team, teamID string) *snapshot.Team {
	in := &s.input.Subject
	in.UserTier, in.UserAttributes = user.Tier(), user.Attributes()
	var only *snapshot.Team
	var onlyRole tiergate.Role
	highest, teams := -1, 0
	for all := user.Memberships(); ; {
		t, role, ok := all.Next()
		if !ok {
			break
		}
		teams++
		only, onlyRole = t, role
		if t == team {
			in.Role = string(role)
		}
		if rank := g.rank(t.Tier); rank > highest && t.Status == tiergate.TeamActive {
			highest, in.TeamTier = rank, t.Tier
		}
	}
	if teamID == "" && teams == 1 {
		in.Role = string(onlyRole)
		return only
	}
	return team
}

// rank returns a tier's place from the lowest, −1 for a tier that does not exist.
func (g *Generation) rank(tier string) int {
	for i, t := range g.view.Tiers() {
		if t.Key == tier {
			return i
		}
	}
	return -1
}

// anonymous is the user of a request that names a trusted tier and no user.
const anonymous = "anonymous"

// trustTier takes the tier that the caller names for the user's own, where a setting says
// that callers may.
func (s *subject) trustTier(g *Generation, attributes tiergate.Value) {
	if len(g.view.Tiers()) == 0 {
		s.trustRules(attributes)
		return
	}
	named := attributes.Field("tier")
	if named.Kind() != tiergate.StringValue {
		return
	}
	if i := g.rank(named.Text()); i >= 0 {
		s.input.Subject.UserTier = g.view.Tiers()[i].Key
		if s.input.Subject.UserID == "" {
			s.input.Subject.UserID = anonymous // the policy sees a tier only on a user
		}
	}
}

// trustRules lets rules see the tier and the team that the caller names, as they are, where no
// tier is defined: the flags come as flagd has them, and all that is decided by is in their rules.
func (s *subject) trustRules(attributes tiergate.Value) {
	if tier := attributes.Field("tier"); tier.Kind() == tiergate.StringValue {
		s.named = tier.Text()
	}
	if team := attributes.Field("team"); team.Kind() == tiergate.StringValue {
		s.scope.Team = team.Text()
	}
}

// setTime tells the time to whom it matters; reading a calendar takes longer than many a
// decision.
func (s *subject) setTime(g *Generation, now time.Time) {
	if now.IsZero() {
		now = time.Now()
	}
	s.scope.Unix = now.Unix()
	if g.timeless {
		return
	}
	now = now.UTC()
	year, month, day := now.Date()
	s.input.Clock = policy.Clock{
		Year: year, Month: int(month), Day: day, Weekday: int(now.Weekday()), Hour: now.Hour(),
	}
}
