package policy

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/tiergate/tiergate"
)

// maxLimits bounds how many limits one question may have.
const maxLimits = 16

// Limits are the limits that apply to one question: an answer that many callers share and
// nobody changes, with room for what a reader derives from it once.
type Limits struct {
	List    []Limit
	derived atomic.Value
}

// Derived returns what make makes of the list: once, or a few times when goroutines race for
// the first.
func (l *Limits) Derived(make func([]Limit) any) any {
	if d := l.derived.Load(); d != nil {
		return d
	}
	l.derived.CompareAndSwap(nil, make(l.List))
	return l.derived.Load()
}

// Limits returns the limits that apply to the subject's use of the feature on a tier,
// which is the one that Access returned. Known limits cost no allocation.
func (e *Engine) Limits(in *Input, tier string) (*Limits, error) {
	if e.limits.reads.bare {
		e.misses.Add(1)
		return e.newLimits(in, tier)
	}
	keys := e.keys.Get().(*keyBuilder)
	defer e.keys.Put(keys)
	key, ok := keys.build(keyOfLimits, e.limitsLeaves, in, tier)
	if !ok {
		e.misses.Add(1)
		return e.newLimits(in, tier)
	}
	hash := e.answers.hash(key)
	if found := e.answers.get(hash, key, nil); found != nil {
		return found.limits, nil
	}
	e.misses.Add(1)
	limits, err := e.newLimits(in, tier)
	if err != nil {
		return nil, err
	}
	e.answers.put(hash, key, &entry{limits: limits, bytes: len(limits.List) * limitBytes})
	return limits, nil
}

// limitBytes is what a Limit may hold: itself, with texts that are mostly shared.
const limitBytes = 256

func (e *Engine) newLimits(in *Input, tier string) (*Limits, error) {
	list, err := e.findLimits(in, tier)
	if err != nil {
		return nil, err
	}
	return &Limits{List: list}, nil
}

func (e *Engine) findLimits(in *Input, tier string) ([]Limit, error) {
	t, err := e.begin(e.whoAsks(in))
	if err != nil {
		return nil, err
	}
	defer t.end()
	d := e.draft(&e.limitsShape, in)
	term, err := e.evaluate(t, e.limits, d.resolved(tier))
	if err != nil {
		return nil, err
	}
	limits, err := readLimits(term)
	if err != nil {
		return nil, e.failed(e.limits, err)
	}
	return limits, nil
}

func readLimits(term *ast.Term) ([]Limit, error) {
	list, ok := term.Value.(*ast.Array)
	if !ok {
		return nil, wrong(term, "the limits are no array")
	}
	if list.Len() > maxLimits {
		return nil, &wrongAnswer{what: fmt.Sprintf("there are more than %d limits", maxLimits)}
	}
	out := make([]Limit, list.Len())
	for i := range out {
		var err error
		if out[i], err = readLimit(list.Elem(i)); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out[:i], func(l Limit) bool { return l.Key == out[i].Key }) {
			return nil, wrong(list.Elem(i), "two limits have one key")
		}
	}
	return out, nil
}

// readLimit reads one limit and holds it against the rules that hold for stored ones.
func readLimit(term *ast.Term) (Limit, error) {
	object, ok := term.Value.(ast.Object)
	if !ok {
		return Limit{}, wrong(term, "a limit is no object")
	}
	l := Limit{Cost: 1, OnUnavailable: "deny"}
	amount := false
	err := object.Iter(func(k, v *ast.Term) error {
		name, _ := k.Value.(ast.String)
		text, isText := v.Value.(ast.String)
		number, isNumber := v.Value.(ast.Number)
		n, isInt := number.Int64()
		switch into := l.text(string(name)); {
		case into != nil && isText && len(text) <= tiergate.MaxNameLength:
			*into = strings.Clone(string(text))
			return nil
		case isNumber && isInt && n >= 0 && n <= tiergate.MaxAmount && l.number(string(name)) != nil:
			*l.number(string(name)) = n
			amount = amount || name == "amount"
			return nil
		case v.Value.Compare(ast.Null{}) == 0 && name == ast.String("amount"):
			l.Unlimited, amount = true, true
			return nil
		}
		return &wrongAnswer{"a limit has a member that limits do not have, or not such a value", cut(k.String(), 40) + ": " + cut(v.String(), 40)}
	})
	if err == nil && !amount {
		err = wrong(term, "a limit has no amount")
	}
	if err != nil {
		return Limit{}, err
	}
	if err := l.validate(); err != nil {
		return Limit{}, &wrongAnswer{"a limit is not valid", err.Error()}
	}
	return l, nil
}

// validate lets the words judge what a limit may be.
func (l *Limit) validate() error {
	stored := tiergate.Limit{
		Key: l.Key, Feature: "feature", Kind: l.Kind, Period: l.Period, Zone: l.Zone,
		Anchor: l.Anchor, Scope: l.Scope, Class: l.Class, Cost: l.Cost, OnUnavailable: l.OnUnavailable,
	}
	return stored.Validate()
}

func (l *Limit) text(name string) *string {
	switch name {
	case "key":
		return &l.Key
	case "kind":
		return (*string)(&l.Kind)
	case "period":
		return &l.Period
	case "zone":
		return &l.Zone
	case "anchor":
		return &l.Anchor
	case "scope":
		return &l.Scope
	case "class":
		return &l.Class
	case "onUnavailable":
		return &l.OnUnavailable
	}
	return nil
}

func (l *Limit) number(name string) *int64 {
	switch name {
	case "amount":
		return &l.Amount
	case "burst":
		return &l.Burst
	case "cost":
		return &l.Cost
	}
	return nil
}
