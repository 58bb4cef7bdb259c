package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// Bounds of what a policy is tried out with.
const (
	worstBytes    = 64 << 10 // of a request
	worstDepth    = 24
	thoroughTiers = 4  // tiers on which everything is tried; on the others something is
	maxTelling    = 24 // constants of the policy that are tried
	maxMetered    = 8  // features with limits
	usual         = 4  // features that everybody is tried with; the others have limits
)

// A sample is a question that a policy is tried out with.
type sample struct {
	in  *Input
	who string // for people
}

// String names the sample in the sentence "tried out with …".
func (s sample) String() string {
	tiers := "without tiers"
	if n := len(s.in.Feature.tiers); n > 0 {
		tiers = fmt.Sprintf("for %d tiers", n)
	}
	attributes := ""
	if s.in.Attributes.Len() > 0 {
		text := string(jsonvalue.Append(nil, s.in.Attributes))
		attributes = ", attributes " + text
		if len(text) > 100 {
			attributes = ", large or strange attributes"
		}
	}
	return fmt.Sprintf("%s and a feature %s%s", s.who, tiers, attributes)
}

// someone is a subject of a kind that samples are made of.
type someone struct {
	who     string
	subject Subject
}

// everybody returns a subject of every kind on a tier.
func everybody(tier, lowest string, allowed ...string) []someone {
	row := tiergate.Team{
		ID: "team", Name: "Team", Tier: tier, Status: tiergate.TeamActive,
		Settings: tiergate.TeamSettings{MaxMembers: 5, AllowedFeatures: allowed},
	}
	suspended := row
	suspended.Status = tiergate.TeamSuspended
	team := NewTeam(&row)
	key := &tiergate.Key{ID: "key", TeamID: "team", Scopes: []string{"evaluate"}}
	user := Subject{UserID: "user", UserTier: tier}
	member := func(team *Team, role tiergate.Role) Subject {
		return Subject{UserID: "user", UserTier: lowest, TeamTier: tier, Team: team, Role: string(role)}
	}
	out := []someone{
		{"nobody", Subject{}},
		{"a user", user},
		{"a user whose team has the tier", Subject{UserID: "user", UserTier: lowest, TeamTier: tier}},
		{"an owner of a team", member(team, tiergate.RoleOwner)},
		{"an admin of a team", member(team, tiergate.RoleAdmin)},
		{"a member of a team", member(team, tiergate.RoleMember)},
		{"a member of a suspended team", member(NewTeam(&suspended), tiergate.RoleMember)},
		{"a user who names a team of others", Subject{UserID: "user", UserTier: lowest, Team: team}},
		{"a team", Subject{Team: team}},
		{"a team's key", Subject{Team: team, Key: key}},
		{"a user by a team's key", Subject{UserID: "user", UserTier: lowest, Team: team, Key: key}},
	}
	for i := range out {
		out[i].who += " on tier " + strconv.Quote(tier)
	}
	return out
}

// featuresOf are features that are open to all tiers, to each, and to few; and some with
// limits.
func featuresOf(tiers []string, defs Definitions) []*Feature {
	feature := func(name string, tiers []string) *Feature {
		return NewFeature(name, "default", tiergate.Boolean, true, tiers, 100, nil)
	}
	out := []*Feature{feature("open", nil)}
	if len(tiers) > 0 {
		out = append(out, feature("tiered", tiers), feature("low", tiers[:1]), feature("high", tiers[len(tiers)-1:]))
	}
	for _, l := range defs.Limits[:min(len(defs.Limits), maxMetered)] {
		out = append(out, feature(l.Feature, nil))
	}
	return out
}

// clocks are times of which policies may think differently.
var clocks = []Clock{{2026, 2, 27, 5, 12}, {2026, 12, 31, 4, 23}, {2026, 2, 28, 6, 0}, {2026, 3, 1, 0, 9}}

// everyday returns subjects of every kind on every tier, without attributes, each with
// features of every kind. On tiers that are many it is content with some.
func everyday(e *Engine, defs Definitions) []sample {
	tiers := e.definitions.tiers
	features := featuresOf(tiers, defs)
	var out []sample
	for i, tier := range slices.Concat([]string{"", "unheard-of"}, tiers) {
		for j, who := range everybody(tier, cmp.Or(append(slices.Clone(tiers), "")...), "high") {
			for k, feature := range features {
				if some := j%4 == 1; !some && (i >= 2+thoroughTiers || k >= usual) || i >= 2+thoroughTiers && k > 1 {
					continue // some are the user, the member and the key
				}
				in := &Input{Feature: feature, Subject: who.subject, Attributes: emptyObject, Clock: clocks[len(out)%len(clocks)]}
				out = append(out, sample{in, who.who})
			}
		}
	}
	return out
}

// constants returns the texts that an admin's modules mention, but for names in references.
func (e *Engine) constants(modules map[string]string) []string {
	var out []string
	for _, path := range slices.Sorted(maps.Keys(withoutTests(modules))) {
		ast.NewGenericVisitor(func(x any) bool {
			if ref, ok := x.(ast.Ref); ok && len(ref) > 0 {
				if _, named := ref[0].Value.(ast.Var); named {
					return true
				}
			}
			if s, ok := x.(ast.String); ok && len(out) < maxTelling && s != "" && len(s) <= tiergate.MaxNameLength && !slices.Contains(out, string(s)) {
				out = append(out, string(s))
			}
			return false
		}).Walk(e.compiler.Modules[path])
	}
	return out
}

// guessTiers defines the texts that an admin's modules mention as tiers, for a policy that
// is tried out where none are known.
func (e *Engine) guessTiers(modules map[string]string, defs Definitions) (*Engine, error) {
	for i, key := range e.constants(modules) {
		defs.Tiers = append(defs.Tiers, tiergate.Tier{Key: key, Name: key, Rank: i})
	}
	guess, err := e.WithDefinitions(defs)
	if err == nil {
		guess.anyTier = true
	}
	return guess, err
}

// telling returns samples that say what the policy itself mentions: its constants, each in
// every place that it reads an attribute from.
func (e *Engine) telling(modules map[string]string, defs Definitions) []sample {
	values := []tiergate.Value{tiergate.BoolOf(true), tiergate.LiteralOf("1", 1)}
	for _, text := range e.constants(modules) {
		values = append(values, tiergate.StringOf(text))
	}
	tiers := e.definitions.tiers
	lowest, highest := "", ""
	if len(tiers) > 0 {
		lowest, highest = tiers[0], tiers[len(tiers)-1]
	}
	features := featuresOf(tiers, defs)
	var out []sample
	for _, v := range values {
		for _, tier := range []string{lowest, highest} {
			for j, who := range everybody(tier, lowest) {
				if j%4 == 1 || j == 0 {
					out = append(out, e.sampleOf(who, features[len(out)%min(len(features), 2)], v))
				}
			}
		}
	}
	return out
}

// worst returns subjects with attributes of every shape in the places that the policy
// reads.
func worst(e *Engine, defs Definitions) []sample {
	allowed := make([]string, 500)
	for i := range allowed {
		allowed[i] = "feature-" + strconv.Itoa(i)
	}
	tiers := append(slices.Clone(e.definitions.tiers), "", "unheard-of")
	features := []*Feature{
		NewFeature("feature-499", "default", tiergate.Boolean, true, nil, 100, nil),
		NewFeature("another", "default", tiergate.Object, true, tiers, 12.345, map[string]any{"note": strings.Repeat("n", 1000), "n": 1e308}),
	}
	var out []sample
	for _, shape := range worstShapes() {
		for _, feature := range features {
			for _, tier := range []string{tiers[0], "unheard-of"} {
				for j, who := range everybody(tier, tier, allowed...) {
					if j%4 == 1 || j%8 == 0 {
						out = append(out, e.sampleOf(who, feature, shape))
					}
				}
			}
		}
	}
	return out
}

// sampleOf is a sample whose attributes are filled with a value.
func (e *Engine) sampleOf(who someone, feature *Feature, v tiergate.Value) sample {
	attributes := e.fill(v)
	if who.subject.UserID != "" {
		who.subject.UserAttributes = string(jsonvalue.Append(nil, attributes))
	}
	return sample{&Input{Feature: feature, Subject: who.subject, Attributes: attributes, Clock: clocks[2]}, who.who}
}

// worstShapes are values that are large, deep, or just unexpected.
func worstShapes() []tiergate.Value {
	numbers := make([]tiergate.Value, 4000)
	texts := make([]tiergate.Value, 4000)
	keys := make([]string, len(texts))
	for i := range numbers {
		numbers[i] = tiergate.LiteralOf(strconv.Itoa(i), float64(i))
		keys[i] = "k" + strconv.Itoa(i)
		texts[i] = tiergate.StringOf(keys[i])
	}
	deep := tiergate.StringOf("bottom")
	for range worstDepth {
		deep = tiergate.ObjectOf([]string{"a", "b"}, []tiergate.Value{deep, tiergate.ArrayOf([]tiergate.Value{deep})})
		if len(jsonvalue.Append(nil, deep)) > worstBytes/4 {
			break
		}
	}
	return []tiergate.Value{
		tiergate.StringOf(strings.Repeat("a", worstBytes/2)),
		tiergate.StringOf(strings.Repeat("aé%,.:/ ", worstBytes/32)),
		tiergate.LiteralOf(strings.Repeat("9", 300), 1e300),
		tiergate.LiteralOf("1e400", 1e308),
		tiergate.ArrayOf(numbers),
		tiergate.ArrayOf(texts),
		tiergate.ObjectOf(keys, texts),
		deep,
		tiergate.NullOf(),
	}
}

// fill puts a value wherever the policy reads an attribute, and in one more.
func (e *Engine) fill(v tiergate.Value) tiergate.Value {
	names := []string{"other"}
	for _, p := range []projection{e.accessReads, e.limits.reads} {
		for _, path := range p.paths {
			if len(path) > 1 && path[0] == "attributes" {
				names = append(names, path[1])
			}
			if len(path) > 3 && path[2] == "attributes" {
				names = append(names, path[3])
			}
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	items := make([]tiergate.Value, len(names))
	for i := range items {
		items[i] = v
	}
	return tiergate.ObjectOf(names, items)
}
