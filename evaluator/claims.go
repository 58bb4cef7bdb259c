package evaluator

import (
	"math/bits"
	"sync"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/policy"
	"github.com/tiergate/tiergate/quota"
	"github.com/tiergate/tiergate/snapshot"
)

// limited is what a generation knows of limits by their definitions.
type limited struct {
	// features are those that have limits, as the policy is told of one that has no flag.
	features map[string]*policy.Feature
	limits   map[string]*tiergate.Limit // by key
}

func limitedBy(defs []tiergate.Limit) limited {
	l := limited{map[string]*policy.Feature{}, map[string]*tiergate.Limit{}}
	for i := range defs {
		if def := &defs[i]; l.features[def.Feature] == nil {
			l.features[def.Feature] = flagless(def.Feature)
		}
		l.limits[defs[i].Key] = &defs[i]
	}
	return l
}

// flagless is a feature without a flag, to the policy: open to everybody. It is of the default
// set, because limits know no sets.
func flagless(name string) *policy.Feature {
	return policy.NewFeature(name, tiergate.DefaultSet, "", true, nil, 100, nil)
}

// feature returns a feature that has no flag. One that has no limits either is made anew.
func (l limited) feature(name string) *policy.Feature {
	if f := l.features[name]; f != nil {
		return f
	}
	return flagless(name)
}

// upgrade is the lowest tier whose amount of a limit is larger, "" when there is none.
func (g *Generation) upgrade(key string, amount int64) string {
	def := g.limited.limits[key]
	if def == nil {
		return ""
	}
	for _, t := range g.view.Tiers() {
		if n, ok := def.Amounts[t.Key]; ok && (n == nil || *n > amount) {
			return t.Key
		}
	}
	return ""
}

// terms are the limits of a policy's answer without a subject: made once for all who get
// that answer, because calendars take time to make.
type terms struct {
	claims []quota.Claim // Units are the limit's own cost
	free   []bool        // which of them have no amount
	told   []tiergate.FlagLimit
	err    error // why nobody can count by them
}

// terms asks which limits apply to a subject's use of the feature that it asked about last.
func (g *Generation) terms(s *subject, tier string) (*terms, error) {
	limits, err := g.policy.Limits(&s.input, tier)
	if err != nil {
		return nil, err
	}
	t := limits.Derived(func(list []policy.Limit) any { return g.calendars.termsOf(list) }).(*terms)
	return t, t.err
}

// calendars remembers the calendars that were made last. The zero value is empty.
type calendars struct {
	mu   sync.Mutex
	made map[calendarKey]*quota.Calendar
}

type calendarKey struct{ period, zone, anchor string }

// maxCalendars bounds what a policy can fill memory with by inventing anchors.
const maxCalendars = 4096

func (c *calendars) of(key calendarKey) (*quota.Calendar, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if made := c.made[key]; made != nil {
		return made, nil
	}
	calendar, err := quota.NewCalendar(key.period, key.zone, key.anchor)
	if err != nil {
		return nil, err
	}
	if len(c.made) == 0 || len(c.made) >= maxCalendars {
		c.made = map[calendarKey]*quota.Calendar{}
	}
	c.made[key] = &calendar
	return &calendar, nil
}

// termsOf compiles a policy's answer.
func (c *calendars) termsOf(list []policy.Limit) *terms {
	n := len(list)
	t := &terms{claims: make([]quota.Claim, n), free: make([]bool, n), told: make([]tiergate.FlagLimit, n)}
	for i := range list {
		l := &list[i]
		claim := &t.claims[i]
		*claim = quota.Claim{
			Key: l.Key, Kind: l.Kind, Scope: l.Scope, Amount: l.Amount, Units: max(l.Cost, 1),
			Period: l.Period, Burst: l.Burst, Leased: l.Class == "leased",
		}
		t.free[i], t.told[i] = l.Unlimited, tiergate.FlagLimit{Key: l.Key, Amount: l.Amount, Period: l.Period}
		if claim.Fallback, t.err = tiergate.ParseFallback(l.OnUnavailable); t.err != nil {
			return t
		}
		switch l.Kind {
		case tiergate.Quota:
			if claim.Calendar, t.err = c.of(calendarKey{l.Period, l.Zone, l.Anchor}); t.err != nil {
				return t
			}
		case tiergate.Rate:
			if claim.Burst == 0 {
				claim.Burst = l.Amount
			}
		}
	}
	return t
}

// units is what a use takes of a limit: the caller's cost, or the limit's own. Slots and seats
// are jobs and things, not units, so that of these the caller's cost says nothing.
func units(c *quota.Claim, cost int64) int64 {
	if cost == 0 || c.Kind == tiergate.Concurrency || c.Kind == tiergate.Gauge {
		return c.Units
	}
	return cost
}

// except puts a subject's exceptions into a claim, and says whether there is an amount at all.
// An override that has not ended replaces the amount, and grants that are alive add to it.
func except(c *quota.Claim, free bool, x *snapshot.Exceptions, now time.Time) (limited bool) {
	overrides, grants := x.Of(c.Key)
	amount := c.Amount
	for _, o := range overrides {
		if ended(o.ExpiresAt, now) {
			continue
		}
		if free = o.Amount == nil; !free {
			amount = min(max(*o.Amount, 0), tiergate.MaxAmount)
		}
		break
	}
	if free {
		return false
	}
	for _, g := range grants {
		if !ended(g.ExpiresAt, now) && !now.Before(g.StartsAt) {
			amount = min(amount+min(max(g.Amount, 0), tiergate.MaxAmount), tiergate.MaxAmount)
		}
	}
	if c.Kind == tiergate.Rate {
		c.Burst = scaled(c.Burst, amount, c.Amount)
	}
	c.Amount = amount
	return true
}

func ended(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// scaled keeps a burst in its proportion to an amount that is another now.
func scaled(burst, amount, was int64) int64 {
	if was <= 0 || burst <= 0 {
		return amount
	}
	high, low := bits.Mul64(uint64(burst), uint64(amount))
	if high >= uint64(was) {
		return tiergate.MaxAmount
	}
	n, _ := bits.Div64(high, low, uint64(was))
	return int64(min(n, uint64(tiergate.MaxAmount)))
}
