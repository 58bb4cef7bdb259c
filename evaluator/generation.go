package evaluator

import (
	"encoding/json"
	"iter"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/pmap"
	"github.com/tiergate/tiergate/policy"
	"github.com/tiergate/tiergate/snapshot"
)

// A Generation is one immutable state of the configuration that decides. It implements
// tiergate.Generation and is safe for concurrent use.
type Generation struct {
	view             *snapshot.View
	policy           *policy.Engine
	sets             pmap.Map[*flagSet]
	clock            tiergate.ClockStep // on which the policy's access decisions depend …
	limitsClock      tiergate.ClockStep // … and its limits
	timeless         bool               // neither depends on a clock
	limited          limited
	calendars        *calendars
	trustContextTier bool
	broken           pmap.Map[Quarantined]
}

// A flagSet is the compiled flags of one set.
type flagSet struct {
	name     string
	def      *tiergate.FlagSet // nil when the set has flags and no definition
	flags    pmap.Map[*flag]
	order    pmap.Sorted[*flag]
	metadata json.RawMessage
	timed    int // how many flags read $flagd.timestamp …
	metered  int // … and how many are of features that have limits
}

func (g *Generation) set(name string) (*flagSet, bool) {
	if name == "" {
		name = tiergate.DefaultSet
	}
	return g.sets.Get(name)
}

func (g *Generation) flag(set, name string) (*flag, bool) {
	s, ok := g.set(set)
	if !ok {
		return nil, false
	}
	return s.flags.Get(name)
}

// All answers about each flag of req.Set in the order of their names. The subject is
// resolved once.
func (g *Generation) All(req *tiergate.Request) iter.Seq[tiergate.Decision] {
	return func(yield func(tiergate.Decision) bool) {
		set, ok := g.set(req.Set)
		if !ok {
			return
		}
		s := subjects.Get().(*subject)
		defer s.release()
		s.resolve(g, req)
		for _, f := range set.order.All() {
			var d tiergate.Decision
			if f.enabled {
				if d = g.decide(f, s); f.metered {
					g.tell(&d, s)
				}
			} else {
				d = f.disabled()
			}
			if !yield(d) {
				return
			}
		}
	}
}

// HasSet says whether there is such a flag set. The default set always is.
func (g *Generation) HasSet(set string) bool {
	_, ok := g.set(set)
	return ok || set == "" || set == tiergate.DefaultSet
}

// SetMetadata returns the set's metadata as the members of a JSON object without braces.
func (g *Generation) SetMetadata(set string) json.RawMessage {
	if s, ok := g.set(set); ok {
		return s.metadata
	}
	return nil
}

// Steps says on which clock the answers of a set depend.
func (g *Generation) Steps(set string) tiergate.ClockStep {
	s, ok := g.set(set)
	switch {
	case ok && s.timed > 0:
		return tiergate.StepAlways
	case ok && s.metered > 0: // their answers tell of limits
		return max(g.clock, g.limitsClock)
	}
	return g.clock
}

// Resume is the place in the history that this state is at.
func (g *Generation) Resume() tiergate.Resume { return g.view.Resume() }

// View returns the configuration that the generation was made of.
func (g *Generation) View() *snapshot.View { return g.view }

// Policy returns the policy in force.
func (g *Generation) Policy() *policy.Engine { return g.policy }

// Definitions returns the tiers and limits that the policy sees.
func (g *Generation) Definitions() policy.Definitions { return definitionsOf(g.view) }

func definitionsOf(v *snapshot.View) policy.Definitions {
	var defs policy.Definitions
	for _, t := range v.Tiers() {
		defs.Tiers = append(defs.Tiers, *t)
	}
	for l := range v.AllLimits() {
		defs.Limits = append(defs.Limits, *l)
	}
	return defs
}
