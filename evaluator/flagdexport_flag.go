package evaluator

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/policy"
)

// A definition is one flag as flagd has it: a rule that names a variant, and a default variant
// for when it yields null.
type definition struct {
	name      string
	state     string
	variants  []variant
	byDefault *variant       // with a nil value: the caller's code default
	rule      []byte         // nil when the default variant is everybody's
	own       map[string]any // metadata
	withheld  tiergate.Withholding
	unsure    bool // withheld only because the policy had no time
}

const (
	stateEnabled  = "ENABLED"
	stateDisabled = "DISABLED"
)

// definition makes of tiers, targeting and percentage what flagd's rules come to as decide does.
func (g *Generation) definition(f *flag, def *tiergate.Flag, shared *sharedRules) definition {
	d := definition{name: f.name, state: stateDisabled, byDefault: &noVariant, own: def.Metadata}
	if f.broken != "" { // one bad flag must not make clients refuse the others
		d.variants, d.own = placeholder(f.typ), nil
		if f.enabled {
			d.withheld = tiergate.WithheldByQuarantine
		}
		return d
	}
	d.variants, d.byDefault = f.sortedVariants(), f.byDefault
	if !f.enabled {
		return d
	}
	d.state = stateEnabled
	tiers, chosen := g.definedTiers(def.Rules.Tiers), ""
	switch {
	case !g.policy.TierDecides():
		access, ok := d.everybody(g, f)
		if !ok {
			d.withhold(f, tiergate.WithheldByPolicy)
			return d
		}
		tiers, chosen = nil, access.Variant
	case len(tiers) == 0 && len(def.Rules.Tiers) > 0: // nobody can be on any of them
		d.constant(f.off, false)
		return d
	}
	rule, err := shared.ruleOf(f, def, chosen)
	if err != nil {
		d.withhold(f, tiergate.WithheldBySize)
		return d
	}
	d.decide(f, tiers, rule)
	return d
}

// definedTiers returns those of tiers that somebody can be on, whatever a context says.
func (g *Generation) definedTiers(tiers []string) []string {
	var defined []string
	for _, t := range tiers {
		if g.rank(t) >= 0 {
			defined = append(defined, t)
		}
	}
	return defined
}

// placeholder is what a quarantined flag has for variants, since flagd's schema wants some. It
// is never served.
func placeholder(typ tiergate.FlagType) []variant {
	none := "false"
	switch typ {
	case tiergate.String:
		none = `""`
	case tiergate.Number:
		none = "0"
	case tiergate.Object:
		none = "{}"
	}
	return []variant{{"none", json.RawMessage(none)}}
}

// everybody returns what the policy says to everybody about the flag, and false when it may
// say different things to different callers, denies, or serves what is not there.
func (d *definition) everybody(g *Generation, f *flag) (policy.Access, bool) {
	if !g.policy.SameForAll(f.feature) {
		return policy.Access{}, false
	}
	access, err := g.policy.Access(&policy.Input{Feature: f.feature})
	d.unsure = tiergate.CodeOf(err) == tiergate.Unavailable
	ok := err == nil && access.Allow && (access.Variant == "" || f.variant(access.Variant) != nil)
	return access, ok
}

// withhold serves the off variant to everybody.
func (d *definition) withhold(f *flag, why tiergate.Withholding) {
	d.withheld = why
	d.constant(f.off, false)
}

// constant serves one variant to everybody. What is not static has a rule that says so.
func (d *definition) constant(v *variant, static bool) {
	d.byDefault, d.rule = v, nil
	if !static && v.value != nil {
		d.rule = always(literal(v))
	}
}

// decide puts tiers and percentage around a rule, nil for none. What the rule yields is
// served to who is in, the off variant to all others. Null is the default variant to flagd;
// where others must get the code default, there is none, and the rule names it.
func (d *definition) decide(f *flag, tiers []string, rule []byte) {
	static := f.static && rule == nil
	in := condition(tiers, f.weight)
	switch {
	case f.weight == 0:
		d.constant(f.off, static)
	case rule == nil && in == nil:
		d.constant(f.byDefault, static)
	case in == nil:
		d.rule = rule
	case rule == nil:
		if f.off.value == nil {
			d.byDefault = &noVariant
		}
		d.rule = either(in, literal(f.byDefault), literal(f.off))
	case f.off.value == nil && f.byDefault.value != nil:
		d.byDefault = &noVariant
		isNull := operation("===", rule, []byte("null"))
		d.rule = either(in, either(isNull, literal(f.byDefault), rule), literal(f.off))
	default:
		d.rule = either(in, rule, literal(f.off))
	}
}

// condition is the rule of who gets a flag: those on a tier, and of them a share. It is nil
// for everybody. The share is bucketed as targeting.InShare does it.
func condition(tiers []string, weight int64) []byte {
	var eligible, share []byte
	if len(tiers) > 0 {
		eligible = append(eligible, `{"in":[{"var":"tier"},[`...)
		for i, t := range tiers {
			if i > 0 {
				eligible = append(eligible, ',')
			}
			eligible = jsonvalue.AppendString(eligible, t)
		}
		eligible = append(eligible, "]]}"...)
	}
	if weight < everyone {
		share = append(share, `{"==":[{"fractional":[["in",`...)
		share = append(strconv.AppendInt(share, weight, 10), `],["out",`...)
		share = append(strconv.AppendInt(share, everyone-weight, 10), `]]},"in"]}`...)
	}
	switch {
	case eligible == nil:
		return share
	case share == nil:
		return eligible
	}
	return operation("and", eligible, share)
}

// literal is the name of a variant as a rule, null for none.
func literal(v *variant) []byte {
	if v.value == nil {
		return []byte("null")
	}
	return jsonvalue.AppendString(nil, v.name)
}

func either(condition, then, otherwise []byte) []byte {
	return operation("if", condition, then, otherwise)
}

func operation(operator string, operands ...[]byte) []byte {
	rule := append([]byte(`{"`+operator+`":[`), bytes.Join(operands, []byte{','})...)
	return append(rule, "]}"...)
}

// always is a rule that yields what is no operation by itself: flagd looks at objects only.
func always(rule []byte) []byte { return either([]byte("true"), rule, []byte("null")) }
