package policy

import "slices"

// A leaf is a part of the input that goes into a cache key by itself. The schema of the
// input is known, so a projected path becomes the leaves that can lie below it, and a path
// that no input ever has becomes none.
type leaf struct {
	kind leafKind
	// sub is the path below, for the leaves that hold what others define: metadata,
	// attributes. Nil is the whole.
	sub []string
}

type leafKind uint8

const (
	featureName leafKind = iota
	featureSet
	featureType
	featureEnabled
	featureTiers
	featurePercentage
	featureMetadata
	userID
	userTier
	userTeamTier
	userAttributes
	teamID
	teamTier
	teamStatus
	teamMaxMembers
	teamAllowedFeatures
	teamRole
	teamByKey
	keyID
	keyScopes
	subjectTier    // resolved, and no part of the key of an access decision
	attributesTier // the same
	attributesTeam // the resolved team's id
	attributes     // without tier and team
	clockYear
	clockMonth
	clockDay
	clockWeekday
	clockHour
)

// ofTeam says whether a leaf's value is the team's alone, whoever asks.
func (k leafKind) ofTeam() bool { return k >= teamID && k <= teamAllowedFeatures }

// schema holds the leaves by their paths. attributes.tier and attributes.team are the
// resolved tier and the team's id.
var schema = []struct {
	path []string
	kind leafKind
}{
	{[]string{"feature", "name"}, featureName},
	{[]string{"feature", "set"}, featureSet},
	{[]string{"feature", "type"}, featureType},
	{[]string{"feature", "enabled"}, featureEnabled},
	{[]string{"feature", "tiers"}, featureTiers},
	{[]string{"feature", "percentage"}, featurePercentage},
	{[]string{"feature", "metadata"}, featureMetadata},
	{[]string{"subject", "user", "id"}, userID},
	{[]string{"subject", "user", "tier"}, userTier},
	{[]string{"subject", "user", "teamTier"}, userTeamTier},
	{[]string{"subject", "user", "attributes"}, userAttributes},
	{[]string{"subject", "team", "id"}, teamID},
	{[]string{"subject", "team", "tier"}, teamTier},
	{[]string{"subject", "team", "status"}, teamStatus},
	{[]string{"subject", "team", "settings", "maxMembers"}, teamMaxMembers},
	{[]string{"subject", "team", "settings", "allowedFeatures"}, teamAllowedFeatures},
	{[]string{"subject", "team", "role"}, teamRole},
	{[]string{"subject", "team", "byKey"}, teamByKey},
	{[]string{"subject", "key", "id"}, keyID},
	{[]string{"subject", "key", "scopes"}, keyScopes},
	{[]string{"subject", "tier"}, subjectTier},
	{[]string{"attributes", "tier"}, attributesTier},
	{[]string{"attributes", "team"}, attributesTeam},
	{[]string{"attributes"}, attributes},
	{[]string{"clock", "year"}, clockYear},
	{[]string{"clock", "month"}, clockMonth},
	{[]string{"clock", "day"}, clockDay},
	{[]string{"clock", "weekday"}, clockWeekday},
	{[]string{"clock", "hour"}, clockHour},
}

// leavesOf returns the leaves of a projection in a fixed order. A whole leaf stands for
// everything below it. Each leaf says by itself whether it is there at all, and with it
// the objects above it.
func leavesOf(p projection) []leaf {
	var out []leaf
	for _, path := range p.paths {
		for _, s := range schema {
			n := min(len(path), len(s.path))
			if !slices.Equal(path[:n], s.path[:n]) || s.kind == attributes && isResolved(path) {
				continue
			}
			l := leaf{kind: s.kind}
			if len(path) > len(s.path) && s.kind.open() {
				l.sub = path[len(s.path):]
			}
			out = append(out, l)
		}
	}
	slices.SortFunc(out, compareLeaves)
	return slices.CompactFunc(out, func(a, b leaf) bool {
		return a.kind == b.kind && (a.sub == nil || slices.Equal(a.sub, b.sub))
	})
}

func compareLeaves(a, b leaf) int {
	if a.kind != b.kind {
		return int(a.kind) - int(b.kind)
	}
	return slices.Compare(a.sub, b.sub)
}

// open says whether what lies below the leaf is for others to define.
func (k leafKind) open() bool {
	return k == featureMetadata || k == userAttributes || k == attributes
}

// isResolved says whether a path is that of an attribute which the resolved one replaces.
func isResolved(path []string) bool {
	return len(path) > 1 && path[0] == "attributes" && (path[1] == "tier" || path[1] == "team")
}
