package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/tiergate/tiergate"
)

// decide answers without the cache: the tier, then access with that tier, then for a
// denial the lowest tier that would be allowed.
func (e *Engine) decide(in *Input) (Access, error) { return e.decideWith(in, true) }

// decideWith is decide, with or without the search for a tier that would be allowed.
func (e *Engine) decideWith(in *Input, search bool) (Access, error) {
	t, err := e.begin(e.whoAsks(in))
	if err != nil {
		return Access{}, err
	}
	defer t.end()
	d := e.draft(&e.decisionShape, in)
	tier, err := e.knownTier(t, in, &d)
	if err != nil {
		return Access{}, err
	}
	if !search {
		return e.decideAs(t, &d, tier)
	}
	return e.decideOn(t, &d, tier)
}

// decideOn answers once the tier is known.
func (e *Engine) decideOn(t *turn, d *draft, tier string) (Access, error) {
	answer, err := e.decideAs(t, d, tier)
	if err != nil || answer.Allow || !e.access.reads.reads("subject", "tier") && !e.access.reads.reads("attributes", "tier") {
		return answer, err
	}
	for _, other := range e.definitions.tiers {
		if other == answer.Tier {
			continue
		}
		upgraded, err := e.decideAs(t, d, other)
		if err != nil {
			return Access{}, err
		}
		if upgraded.Allow {
			answer.Upgrade = other
			break
		}
	}
	return answer, nil
}

// knownTier is findTier with a memory of its own: most subjects are on a tier for the same
// few reasons, so a question about another feature, or of another subject, need not work
// it out again.
func (e *Engine) knownTier(t *turn, in *Input, d *draft) (string, error) {
	if e.tier.reads.bare {
		return e.findTier(t, d)
	}
	keys := e.keys.Get().(*keyBuilder)
	defer e.keys.Put(keys)
	key, ok := keys.build(keyOfTier, e.tierLeaves, in, "")
	if !ok {
		return e.findTier(t, d)
	}
	hash := e.answers.hash(key)
	if found := e.answers.get(hash, key, nil); found != nil {
		return found.access.Tier, nil
	}
	tier, err := e.findTier(t, d)
	if err != nil {
		return "", err
	}
	e.answers.put(hash, key, &entry{access: Access{Tier: tier}, bytes: len(tier)})
	return tier, nil
}

// findTier works out the subject's effective tier. It is a defined one, or "" for none;
// where no tiers are defined it is whatever the policy says.
func (e *Engine) findTier(t *turn, d *draft) (string, error) {
	term, err := e.evaluate(t, e.tier, d.unresolved())
	if err != nil {
		return "", err
	}
	text, ok := term.Value.(ast.String)
	if !ok {
		return "", e.failed(e.tier, wrong(term, "the tier is no string"))
	}
	tier, defined := e.definitions.intern(string(text))
	switch {
	case !defined && tier != "" && len(e.definitions.tiers) > 0 && !e.anyTier:
		return "", e.failed(e.tier, wrong(term, "the tier is not defined"))
	case len(tier) > tiergate.MaxNameLength:
		return "", e.failed(e.tier, wrong(term, "the tier has more than %d bytes", tiergate.MaxNameLength))
	}
	return tier, nil
}

// decideAs answers what access would be on a tier.
func (e *Engine) decideAs(t *turn, d *draft, tier string) (Access, error) {
	term, err := e.evaluate(t, e.access, d.resolved(tier))
	if err != nil {
		return Access{}, err
	}
	answer, err := readAccess(term)
	if err != nil {
		return Access{}, e.failed(e.access, err)
	}
	answer.Tier = tier
	return answer, nil
}

var nameAllow, nameReason, nameVariant = ast.StringTerm("allow"), ast.StringTerm("reason"), ast.StringTerm("variant")

// readAccess reads {"allow": bool, "reason": string, "variant": string?}.
func readAccess(term *ast.Term) (Access, error) {
	object, ok := term.Value.(ast.Object)
	if !ok {
		return Access{}, wrong(term, "the decision is no object")
	}
	allow, isFlag := memberOf[ast.Boolean](object, nameAllow)
	reason, isText := memberOf[ast.String](object, nameReason)
	variant, named := memberOf[ast.String](object, nameVariant)
	known := 0
	for _, is := range [...]bool{isFlag, isText, named} {
		if is {
			known++
		}
	}
	switch {
	case known != object.Len():
		return Access{}, wrongMember(object)
	case !isFlag || !isText:
		return Access{}, wrong(term, "the decision needs allow and reason")
	case len(reason)+len(variant) > tiergate.MaxNameLength*2:
		return Access{}, &wrongAnswer{what: fmt.Sprintf("the decision has a reason and variant of more than %d bytes", tiergate.MaxNameLength*2)}
	}
	return Access{Allow: bool(allow), Reason: strings.Clone(string(reason)), Variant: strings.Clone(string(variant))}, nil
}

func memberOf[T ast.Value](object ast.Object, name *ast.Term) (value T, ok bool) {
	if term := object.Get(name); term != nil {
		value, ok = term.Value.(T)
	}
	return value, ok
}

// wrongMember names the first member of a decision that has no place in one.
func wrongMember(object ast.Object) error {
	for _, k := range object.Keys() {
		v := object.Get(k).Value
		_, isText := v.(ast.String)
		_, isFlag := v.(ast.Boolean)
		if name, _ := k.Value.(ast.String); name == "allow" && isFlag || (name == "reason" || name == "variant") && isText {
			continue
		}
		return &wrongAnswer{
			"the decision is not {allow: boolean, reason: string, variant?: string}", cut(k.String(), 40) + ": " + cut(v.String(), 40),
		}
	}
	return errors.New("bug: every member has its place")
}
