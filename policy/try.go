package policy

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// Bounds of what a policy is tried out with, those of a request.
const (
	worstBytes = 64 << 10
	worstDepth = 24
)

// try compiles a policy and asks every entry point worst-case questions. It runs in the
// child process of Admit.
func try(modules map[string]string, defs Definitions) error {
	e, err := Settings{patience: 10}.Compile(modules, defs)
	if err != nil {
		return err
	}
	if _, err := withTests(modules); err != nil {
		return err // the tests are kept with the policy
	}
	for _, in := range worstInputs(e, defs) {
		if err := e.tryDecision(in); err != nil {
			return err
		}
	}
	return e.tryAdmin()
}

// tryDecision asks for one decision. Any answer of the right shape will do, and so will
// none for an input this strange; an overrun or a wrong shape will not.
func (e *Engine) tryDecision(in *Input) error {
	access, err := patiently(e, func() (Access, error) { return e.decide(in) })
	if err := e.verdict(err, in); err != nil {
		return err
	}
	_, err = patiently(e, func() ([]Limit, error) { return e.findLimits(in, access.Tier) })
	return e.verdict(err, in)
}

// patiently tries up to five times: a machine that is busy with other things is not the
// policy's fault.
func patiently[T any](e *Engine, ask func() (T, error)) (answer T, err error) {
	for range 5 {
		before := e.overruns.Load()
		if answer, err = ask(); e.overruns.Load() == before {
			return answer, err
		}
		e.resting.forget()
	}
	return answer, err
}

func (e *Engine) verdict(err error, in *Input) error {
	_, conflict := errors.AsType[*topdown.Error](err)
	if err == nil || in.Attributes.Len() > 0 && (conflict || errors.Is(err, errUndefined)) {
		return nil
	}
	return refuse("", "tried out with %s: %v", describe(in), err)
}

func describe(in *Input) string {
	who := "nobody"
	switch {
	case in.Subject.UserID != "" && in.Subject.Team != nil:
		who = "a member of a team"
	case in.Subject.UserID != "":
		who = "a user"
	case in.Subject.Team != nil:
		who = "a team"
	}
	if in.Attributes.Len() == 0 {
		return who + " without attributes"
	}
	return who + " with large attributes"
}

// tryAdmin makes sure that a policy does not lock everybody out: an admin can always
// publish another one.
func (e *Engine) tryAdmin() error {
	for _, action := range []string{"policies.read", "policies.check", "policies.publish"} {
		ok, err := patiently(e, func() (bool, error) {
			return e.allowAdmin(AdminInput{Caller: tiergate.Caller{ID: "token:admin", Role: tiergate.PlatformAdmin}, Action: action})
		})
		if err != nil {
			return refuse("", "tried out with an admin: %v", err)
		}
		if !ok {
			return refuse("", "%s denies %s to the role admin: nobody could publish another policy", adminPoint, action)
		}
	}
	for _, role := range []tiergate.PlatformRole{"", tiergate.PlatformViewer, tiergate.PlatformEditor} {
		in := AdminInput{Caller: tiergate.Caller{ID: strings.Repeat("x", 1000), Role: role}, Action: "flags.write", Resource: map[string]any{"set": "default"}}
		if _, err := patiently(e, func() (bool, error) { return e.allowAdmin(in) }); err != nil && !errors.Is(err, errUndefined) {
			return refuse("", "tried out with the role %q: %v", role, err)
		}
	}
	return nil
}

// worstInputs are subjects of every kind, each without attributes and with attributes of
// every shape in the places that the policy reads.
func worstInputs(e *Engine, defs Definitions) []*Input {
	allowed := make([]string, 500)
	for i := range allowed {
		allowed[i] = "feature-" + strconv.Itoa(i)
	}
	tiers := append(slices.Clone(e.definitions.tiers), "", "unknown")
	features := []*Feature{
		NewFeature("feature-499", "default", tiergate.Boolean, true, nil, 100, nil),
		NewFeature("another", "default", tiergate.Object, true, tiers, 12.345, map[string]any{"note": strings.Repeat("n", 1000), "n": 1e308}),
	}
	for _, l := range defs.Limits[:min(len(defs.Limits), 8)] {
		features = append(features, NewFeature(l.Feature, "default", tiergate.Boolean, true, nil, 100, nil))
	}
	var out []*Input
	for i, shape := range worstShapes() {
		attributes := e.fill(shape)
		for j, feature := range features {
			if i > 0 && j > 1 {
				break
			}
			for k, tier := range []string{tiers[0], tiers[len(tiers)-1]} {
				team := NewTeam(&tiergate.Team{ID: "team", Tier: tier, Status: "active", Settings: tiergate.TeamSettings{MaxMembers: 5, AllowedFeatures: allowed}})
				user := Subject{UserID: "user", UserTier: tier, TeamTier: tier, UserAttributes: string(jsonvalue.Append(nil, attributes))}
				member := user
				member.Team, member.Role = team, "MEMBER"
				member.Key = &tiergate.Key{ID: "key", TeamID: "team", Scopes: []string{"evaluate"}}
				for _, s := range []Subject{{}, user, member, {Team: team}} {
					out = append(out, &Input{Feature: feature, Subject: s, Attributes: attributes, Clock: Clock{2026, 2, 28, 6 * k, 23}})
				}
			}
		}
	}
	return out
}

// worstShapes are values that are large, deep, or just unexpected. The first is nothing.
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
		{},
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
	if !v.IsDefined() {
		return emptyObject
	}
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
