package targeting

import (
	"math"

	"github.com/tiergate/tiergate"
)

func (m *machine) conditional(n *node) (tiergate.Value, bool) {
	kids := n.kids
	if len(kids) == 0 {
		return tiergate.NullOf(), true
	}
	for len(kids) > 1 {
		v, ok := m.eval(&kids[0])
		if !ok {
			return v, false
		}
		if truthy(v) {
			return m.eval(&kids[1])
		}
		kids = kids[2:]
	}
	return m.eval(&kids[0])
}

// junction is "and" and "or": the first value that decides, or the last.
func (m *machine) junction(n *node) (tiergate.Value, bool) {
	last := tiergate.NullOf()
	for i := range n.kids {
		v, ok := m.eval(&n.kids[i])
		if !ok {
			return v, false
		}
		if !n.folded {
			m.frame.prev = v
		}
		if last = v; truthy(v) == (n.op == opOr) {
			break
		}
	}
	return last, true
}

func (m *machine) negation(n *node) (tiergate.Value, bool) {
	var v tiergate.Value
	if len(n.kids) > 0 {
		var ok bool
		if v, ok = m.eval(&n.kids[0]); !ok {
			return v, false
		}
	}
	if n.folded && n.spread && isArray(v) {
		v = v.Index(0)
	}
	return tiergate.BoolOf(truthy(v) == (n.op == opTrue)), true
}

// comparison compares two operands, or each of more with the next.
func (m *machine) comparison(n *node) (tiergate.Value, bool) {
	if n.folded {
		return m.foldedComparison(n)
	}
	left, ok := m.eval(&n.kids[0])
	if !ok {
		return left, false
	}
	m.frame.prev = left
	for i := 1; i < len(n.kids); i++ {
		if i > 1 {
			left = m.frame.prev
		}
		right, ok := m.eval(&n.kids[i])
		if !ok {
			return right, false
		}
		// Two words are what rules compare most: nothing to check and nothing to convert.
		if n.plain && isString(left) && isString(right) {
			m.charge(len(right.Text()))
			return tiergate.BoolOf((left.Text() == right.Text()) == (n.op == opEqual || n.op == opSame)), true
		}
		if !n.strict {
			if right, ok = m.comparable(right, m.frame.prev); !ok {
				return right, false
			}
		}
		if len(n.kids) > 2 {
			m.frame.prev = right
		}
		m.chargeText(left)
		m.chargeText(right)
		if !holds(n.op, left, right) {
			return tiergate.BoolOf(false), true
		}
	}
	return tiergate.BoolOf(true), true
}

// holds applies the operator itself.
func holds(op opID, a, b tiergate.Value) bool {
	switch op {
	case opEqual:
		return looseEqual(a, b)
	case opNotEqual:
		return !looseEqual(a, b)
	case opSame:
		return strictEqual(a, b)
	case opNotSame:
		return !strictEqual(a, b)
	}
	c, ok := order(a, b)
	switch op {
	case opLess:
		return ok && c < 0
	case opLessEqual:
		return ok && c <= 0
	case opMore:
		return ok && c > 0
	}
	return ok && c >= 0
}

func textOrNull(v tiergate.Value) bool { return isString(v) || v.Kind() == tiergate.Null }

// comparable returns the right operand as it is compared. Two words compare as words;
// anything else must be a number or look like one; null is what the other falsy side is.
func (m *machine) comparable(right, left tiergate.Value) (tiergate.Value, bool) {
	if textOrNull(right) && textOrNull(left) {
		return right, true
	}
	isNull := left.Kind() == tiergate.Null
	if !hasNumber(right) || !isNull && math.IsNaN(toNumber(right)) {
		return m.fail(errNotNumber)
	}
	if !isNull && (!hasNumber(left) || math.IsNaN(toNumber(left))) {
		return m.fail(errNotNumber)
	}
	switch {
	case isNull && falsy(right):
		return left, true
	case right.Kind() == tiergate.Null && falsy(left):
		return number(0), true
	}
	return right, true
}

// hasNumber is false for what is never taken for a number: lists, objects, NaN.
func hasNumber(v tiergate.Value) bool {
	return !isComposite(v) && !(v.Kind() == tiergate.NumberValue && math.IsNaN(v.Float()))
}

// foldedComparison compares as the interpreter does: words as words, all else as numbers.
func (m *machine) foldedComparison(n *node) (tiergate.Value, bool) {
	left, ok := m.eval(&n.kids[0])
	if !ok {
		return left, false
	}
	for i := 1; i < len(n.kids); i++ {
		right, ok := m.eval(&n.kids[i])
		if !ok {
			return right, false
		}
		var result bool
		if len(n.kids) > 3 {
			result, ok = m.foldedLong(n, left, right, i == 1)
		} else {
			result, ok = m.foldedPair(n, left, right)
		}
		if !ok {
			return tiergate.Value{}, false
		}
		if !result {
			return tiergate.BoolOf(false), true
		}
		left = right
	}
	return tiergate.BoolOf(true), true
}

func (m *machine) foldedPair(n *node, left, right tiergate.Value) (result, ok bool) {
	if n.strict || textOrNull(left) && textOrNull(right) {
		return holds(n.op, left, right), true
	}
	if !hasNumber(left) || math.IsNaN(toNumber(left)) || !hasNumber(right) ||
		math.IsNaN(toNumber(right)) && left.Kind() != tiergate.Null {
		m.fail(errNotNumber)
		return false, false
	}
	return holds(n.op, number(toNumber(left)), number(toNumber(right))), true
}

// foldedLong is one step of a comparison of four or more: words must pass as words and
// then as numbers too.
func (m *machine) foldedLong(n *node, left, right tiergate.Value, first bool) (result, ok bool) {
	if (n.strict || textOrNull(left) && textOrNull(right)) && !holds(n.op, left, right) {
		return false, true
	}
	if !hasNumber(right) || math.IsNaN(toNumber(right)) && left.Kind() != tiergate.Null ||
		first && (!hasNumber(left) || math.IsNaN(toNumber(left))) {
		m.fail(errNotNumber)
		return false, false
	}
	return holds(n.op, number(toNumber(left)), number(toNumber(right))), true
}
