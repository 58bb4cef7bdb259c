package policy

import (
	"maps"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// An Input is one question to the policy: what Rego sees as input. It and what it points
// to are only read.
type Input struct {
	Feature *Feature // the feature asked about; not nil
	Subject Subject
	// Attributes is the evaluation context, an object; anything else counts as an empty
	// one. Its "tier" and "team" are never seen: the resolved ones stand in their place.
	Attributes tiergate.Value
	Clock      Clock
}

// A Subject is who asks. The zero Subject is nobody.
type Subject struct {
	UserID string // "" when no user is named
	// UserTier is the user's own tier, "" when the user has none or is not known.
	UserTier string
	// TeamTier is the highest-ranked tier among the user's teams, "" when in none.
	TeamTier string
	// UserAttributes is a JSON object as text, parsed only when the policy reads it.
	UserAttributes string
	Team           *Team         // the team named by the request or the credential, nil for none
	Role           string        // the user's role in Team, "" when not a member
	Key            *tiergate.Key // the credential, nil without
}

// TeamApplies says whether the team speaks for the subject: for its members, when no user is
// named, and for its own API keys. Anybody may name any team, and one that is suspended
// speaks for nobody; one that does not apply is never the subject's "team" to targeting or to
// input.attributes. The built-in data.tiergate.team.applies says the same in Rego.
func (s *Subject) TeamApplies() bool {
	return s.Team != nil && s.Team.row.Status == tiergate.TeamActive && (s.Role != "" || s.UserID == "" || s.teamByKey())
}

// A Clock is the time in UTC, coarse on purpose.
type Clock struct {
	Year, Month, Day int
	Weekday          int // 0 is Sunday
	Hour             int
}

// A Feature is what the policy may know about a flag, or about a feature that has only
// limits. It is immutable, made once per compiled flag, and safe for concurrent use.
type Feature struct {
	name, set  string
	typ        tiergate.FlagType
	enabled    bool
	tiers      []string
	percentage string // its literal text
	metadata   tiergate.Value

	part atomic.Pointer[part] // of the key of an access decision
}

// NewFeature makes a Feature, which keeps tiers. Metadata holds strings, booleans and
// numbers; what JSON cannot say becomes null.
func NewFeature(name, set string, typ tiergate.FlagType, enabled bool, tiers []string, percentage float64, metadata map[string]any) *Feature {
	f := &Feature{
		name: name, set: set, typ: typ, enabled: enabled, tiers: tiers,
		percentage: strconv.FormatFloat(percentage, 'f', -1, 64),
		metadata:   emptyObject,
	}
	if len(metadata) == 0 {
		return f
	}
	keys := slices.Sorted(maps.Keys(metadata))
	items := make([]tiergate.Value, len(keys))
	for i, k := range keys {
		v, err := jsonvalue.Of(metadata[k])
		if err != nil {
			v = tiergate.NullOf()
		}
		items[i] = v
	}
	f.metadata = tiergate.ObjectOf(keys, items)
	return f
}

var emptyObject = tiergate.ObjectOf(nil, nil)

// Name returns the feature's name.
func (f *Feature) Name() string { return f.name }

// A Team is what the policy may know about a team. It is immutable, made once per row,
// and safe for concurrent use.
type Team struct {
	row  *tiergate.Team
	part atomic.Pointer[part] // of the key of an access decision
}

// NewTeam makes a Team of a row, which it keeps and nobody may change afterwards.
func NewTeam(row *tiergate.Team) *Team { return &Team{row: row} }

// ID returns the team's id.
func (t *Team) ID() string { return t.row.ID }

// Tier returns the team's own tier.
func (t *Team) Tier() string { return t.row.Tier }

// teamByKey says whether the credential is a key of the subject's team.
func (s *Subject) teamByKey() bool {
	return s.Key != nil && s.Team != nil && s.Key.TeamID == s.Team.row.ID
}
