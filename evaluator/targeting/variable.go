package targeting

import (
	"math"

	"github.com/tiergate/tiergate"
)

// variable is var with a path that is known.
func (m *machine) variable(n *node) (tiergate.Value, bool) {
	if n.folded {
		return m.foldedVariable(n), true
	}
	v := m.walk(n.head, n.path)
	if isNullish(v) {
		v = tiergate.NullOf()
		if len(n.kids) > 0 {
			var ok bool
			if v, ok = m.eval(&n.kids[0]); !ok {
				return v, false
			}
		}
	}
	m.frame.prev = v
	return v, true
}

// foldedVariable is var as the interpreter has it, and var "" everywhere.
func (m *machine) foldedVariable(n *node) tiergate.Value {
	switch {
	case len(n.path) == 0:
		return m.context()
	case n.strict || len(n.path) == 1:
		return orNull(m.walk(n.head, n.path))
	}
	if m.frame.kind == frameItem && falsy(m.frame.item) {
		return orNull(m.frame.item)
	}
	v := m.walk(n.head, n.path[:1])
	for _, name := range n.path[1:] {
		if falsy(v) {
			break
		}
		v = m.property(v, name)
	}
	return orNull(v)
}

func orNull(v tiergate.Value) tiergate.Value {
	if isNullish(v) {
		return tiergate.NullOf()
	}
	return v
}

// variableOf is var with a path that is computed: null is a value here, and only what is
// absent has the default.
func (m *machine) variableOf(n *node) (tiergate.Value, bool) {
	var a arguments
	if !m.arguments(n, &a) {
		return tiergate.Value{}, false
	}
	key, fallback := a.at(0), a.at(1)
	if isNullish(key) || isString(key) && key.Text() == "" {
		return m.context(), true
	}
	m.chargeText(key)
	path := splitPath(toString(key))
	v := m.follow(path)
	if !v.IsDefined() {
		return orNull(fallback), true
	}
	return v, true
}

// follow reads what is at a computed path.
func (m *machine) follow(path []string) tiergate.Value {
	if len(path) == 0 {
		return m.context()
	}
	return m.walkFrom(m.member(path[0]), path[1:])
}

// missing returns those names that the context does not have. A null is there.
func (m *machine) missing(n *node) (tiergate.Value, bool) {
	if n.path != nil {
		return m.missingPlain(n.path), true
	}
	var names tiergate.Value
	if n.spread {
		v, ok := m.eval(&n.kids[0])
		if !ok {
			return v, false
		}
		if names = v; !isArray(v) {
			names = tiergate.ArrayOf([]tiergate.Value{v})
		}
	} else {
		v, ok := m.list(n)
		if !ok {
			return v, false
		}
		names = v
	}
	return m.missingOf(names)
}

func (m *machine) missingPlain(names []string) tiergate.Value {
	var absent []tiergate.Value
	for _, name := range names {
		if !m.member(name).IsDefined() {
			absent = append(absent, tiergate.StringOf(name))
		}
	}
	return tiergate.ArrayOf(absent)
}

// missingOf looks for names one by one; what is falsy on the way ends the search.
func (m *machine) missingOf(names tiergate.Value) (tiergate.Value, bool) {
	if isNullish(names) {
		return m.fail(errArguments)
	}
	if isString(names) {
		m.chargeText(names)
		names = characters(names.Text())
	}
	var absent []tiergate.Value
	for i := range names.Len() {
		if m.steps--; m.steps < 0 {
			return m.fail(errSteps)
		}
		name := names.Index(i)
		m.chargeText(name)
		if !isArray(names) || m.has(splitPath(toString(name))) {
			continue
		}
		absent = append(absent, name)
	}
	return tiergate.ArrayOf(absent), true
}

func (m *machine) has(path []string) bool {
	if len(path) == 0 {
		return true
	}
	if m.frame.kind == frameItem && falsy(m.frame.item) {
		return false
	}
	v := m.member(path[0])
	for _, name := range path[1:] {
		if falsy(v) {
			return false
		}
		v = m.property(v, name)
	}
	return v.IsDefined()
}

// missingSome returns nothing when at least a number of the names are there.
func (m *machine) missingSome(n *node) (tiergate.Value, bool) {
	var a arguments
	if !m.arguments(n, &a) {
		return tiergate.Value{}, false
	}
	need, names := a.at(0), a.at(1)
	absent, ok := m.missingOf(names)
	if !ok {
		return absent, false
	}
	if n.path != nil {
		absent = m.missingPlain(n.path)
	}
	have := float64(names.Len() - absent.Len())
	switch names.Kind() {
	case tiergate.StringValue:
		have = float64(lengthUTF16(names.Text()) - absent.Len())
	case tiergate.ArrayValue:
	default:
		have = math.NaN()
	}
	if !n.folded && n.kids[1].isConst() && isArray(names) {
		m.frame.prev = absent
		if holds(opLess, number(have), need) {
			return absent, true
		}
		return tiergate.ArrayOf(nil), true
	}
	if holds(opMoreEqual, number(have), need) {
		return tiergate.ArrayOf(nil), true
	}
	return absent, true
}
