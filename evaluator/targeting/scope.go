package targeting

import "github.com/tiergate/tiergate"

// A Scope is what a rule reads about one decision. Its zero value knows nothing. A Scope
// may be on the caller's stack; Eval neither keeps nor changes it.
type Scope struct {
	// Attributes are the evaluation context, an object or Undefined. Its tier and team are
	// never read, its targetingKey only when UserID is empty.
	Attributes tiergate.Value
	FlagKey    string // {"var": "$flagd.flagKey"}
	UserID     string // {"var": "targetingKey"}; "" when no user is named
	Tier       string // {"var": "tier"}, the resolved tier; "" when there is none
	Team       string // {"var": "team"}, the resolved team; "" when there is none
	Unix       int64  // {"var": "$flagd.timestamp"}, in seconds
}

// A head says where the first name of a path is looked up.
type head uint8

const (
	headAttribute head = iota
	headUser
	headTier
	headTeam
	headFlagd
)

func headOf(name string) head {
	switch name {
	case "targetingKey":
		return headUser
	case "tier":
		return headTier
	case "team":
		return headTeam
	case "$flagd":
		return headFlagd
	}
	return headAttribute
}

func textOrNothing(s string) tiergate.Value {
	if s == "" {
		return tiergate.Value{}
	}
	return tiergate.StringOf(s)
}

func (s *Scope) flagd() tiergate.Value {
	return tiergate.ObjectOf([]string{"flagKey", "timestamp"},
		[]tiergate.Value{tiergate.StringOf(s.FlagKey), number(float64(s.Unix))})
}

// user is the targeting key, Undefined when there is none.
func (s *Scope) user() tiergate.Value {
	if s.UserID == "" {
		return s.Attributes.Field("targetingKey")
	}
	return tiergate.StringOf(s.UserID)
}

// whole is the context as one object.
func (s *Scope) whole() tiergate.Value {
	n := s.Attributes.Len()
	keys, items := make([]string, 0, n+4), make([]tiergate.Value, 0, n+4)
	add := func(k string, v tiergate.Value) {
		if v.IsDefined() {
			keys, items = append(keys, k), append(items, v)
		}
	}
	for i := range n {
		if k := s.Attributes.KeyAt(i); headOf(k) == headAttribute {
			add(k, s.Attributes.Index(i))
		}
	}
	add("targetingKey", s.user())
	add("tier", textOrNothing(s.Tier))
	add("team", textOrNothing(s.Team))
	add("$flagd", s.flagd())
	return tiergate.ObjectOf(keys, items)
}
