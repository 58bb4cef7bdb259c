package targeting

import "github.com/tiergate/tiergate"

// collection evaluates what a visitor visits; null, false, 0 and "" are empty.
func (m *machine) collection(n *node) (tiergate.Value, bool) {
	v, ok := m.eval(&n.kids[0])
	if !ok {
		return v, false
	}
	if n.op == opAll && !n.folded {
		m.frame.prev = v
	}
	switch {
	case falsy(v):
		return tiergate.ArrayOf(nil), true
	case isArray(v):
		return v, true
	case n.folded && (n.op == opAll || n.op == opSome || n.op == opNone):
		// These go by length and index alone.
		if isString(v) {
			m.chargeText(v)
			return characters(v.Text()), true
		}
		return tiergate.Value{}, true
	}
	return m.fail(errNotList)
}

// visit runs the visitor on one element.
func (m *machine) visit(n *node, item tiergate.Value) (tiergate.Value, bool) {
	outer := m.frame
	m.frame = frame{kind: frameItem, item: item}
	v, ok := m.eval(&n.kids[1])
	m.frame = outer
	return v, ok
}

func (m *machine) every(n *node) (tiergate.Value, bool) {
	v, ok := m.collection(n)
	if !ok {
		return v, false
	}
	// In compiled parts only a real empty list is false: null has been emptied above.
	if isArray(v) && v.Len() == 0 && (n.folded || isArray(m.frame.prev)) {
		return tiergate.BoolOf(false), true
	}
	for i := range v.Len() {
		r, ok := m.visit(n, v.Index(i))
		if !ok {
			return r, false
		}
		if !truthy(r) {
			return tiergate.BoolOf(false), true
		}
	}
	return tiergate.BoolOf(true), true
}

// some is some and none.
func (m *machine) some(n *node) (tiergate.Value, bool) {
	v, ok := m.collection(n)
	if !ok {
		return v, false
	}
	for i := range v.Len() {
		r, ok := m.visit(n, v.Index(i))
		if !ok {
			return r, false
		}
		if truthy(r) {
			return tiergate.BoolOf(n.op == opSome), true
		}
	}
	return tiergate.BoolOf(n.op == opNone), true
}

func (m *machine) mapOrFilter(n *node) (tiergate.Value, bool) {
	v, ok := m.collection(n)
	if !ok {
		return v, false
	}
	items := make([]tiergate.Value, 0, v.Len())
	for i := range v.Len() {
		r, ok := m.visit(n, v.Index(i))
		switch {
		case !ok:
			return r, false
		case n.op == opMap:
			items = append(items, r)
		case truthy(r):
			items = append(items, v.Index(i))
		}
	}
	return tiergate.ArrayOf(items), true
}

func (m *machine) reduce(n *node) (tiergate.Value, bool) {
	var acc tiergate.Value
	initial := func() bool {
		var ok bool
		acc, ok = m.eval(&n.kids[2])
		return ok && m.flat(acc)
	}
	hasInitial := len(n.kids) > 2
	if hasInitial && n.folded && !initial() {
		return tiergate.Value{}, false
	}
	v, ok := m.collection(n)
	if !ok {
		return v, false
	}
	if hasInitial && !n.folded && !initial() {
		return tiergate.Value{}, false
	}
	from := 0
	if !hasInitial {
		if v.Len() == 0 {
			return m.fail(errArguments)
		}
		acc, from = v.Index(0), 1
	}
	outer := m.frame
	for i := from; i < v.Len(); i++ {
		m.frame = frame{kind: frameReduce, item: v.Index(i), acc: acc}
		acc, ok = m.eval(&n.kids[1])
		m.frame = outer
		if !ok || !m.flat(acc) {
			return tiergate.Value{}, false
		}
	}
	return acc, true
}

// flat refuses lists and objects that hold others: what reduce accumulates stays small.
func (m *machine) flat(v tiergate.Value) bool {
	for i := range v.Len() {
		if isComposite(v.Index(i)) {
			m.fail(errDeepResult)
			return false
		}
	}
	return true
}
