package evaluator

import (
	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator/targeting"
)

// Decide answers about one flag: whether it is on, for whom, and why. It always answers;
// what goes wrong is in the Decision. It does not allocate, except in an error and where a
// targeting operator builds a value.
func (g *Generation) Decide(req *tiergate.Request) tiergate.Decision {
	f, ok := g.flag(req.Set, req.Flag) // 1. the flag of that set and name
	if !ok {
		return notFound(req.Flag)
	}
	if !f.enabled {
		return f.disabled() // 2. nobody decides: the caller's code default applies
	}
	s := subjects.Get().(*subject)
	defer s.release()
	s.resolve(g, req) // 3. who asks: the user, the team, what they are on
	return g.decide(f, s)
}

// decide goes on once the flag and the subject are known.
func (g *Generation) decide(f *flag, s *subject) tiergate.Decision {
	if f.broken != "" {
		return f.failed(tiergate.ParseError, f.broken)
	}
	access, err := s.policy.Access(f.feature) // 3. … and the policy says the tier and whether they may
	if err != nil {
		return f.unanswered(err)
	}
	if !access.Allow {
		return f.denied(access) // 4. denied: the off variant, why, and which tier would do
	}
	d := f.served(access.Tier, f.byDefault, tiergate.ReasonTargetingMatch)
	switch { // 5. which variant: the policy's, else targeting's, else the default …
	case access.Variant != "":
		if !f.pick(&d, access.Variant) {
			return d
		}
	case f.rule != nil:
		if s.scope.FlagKey, s.scope.Tier = f.name, access.Tier; access.Tier == "" {
			s.scope.Tier = s.named
		}
		result, err := f.rule.Eval(&s.scope)
		if err != nil {
			return f.failed(tiergate.General, "targeting: "+err.Error())
		}
		if name, ok := targeting.VariantName(result); !ok {
			d.Reason = tiergate.ReasonDefault
		} else if !f.pick(&d, name) {
			return d
		}
	case f.static && !g.policy.CallerMatters(f.feature):
		d.Reason = tiergate.ReasonStatic
	}
	if !f.inShare(s.scope.UserID) { // 5. … for the share of the eligible that gets it
		if d.Reason != tiergate.ReasonStatic {
			d.Reason = tiergate.ReasonTargetingMatch
		}
		return f.served(access.Tier, f.off, d.Reason)
	}
	if d.Value == nil {
		d.Reason = tiergate.ReasonDefault // no default variant: the caller's code default
	}
	return d // 6. with the tier and the flag's own metadata
}
