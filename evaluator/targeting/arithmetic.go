package targeting

import (
	"math"

	"github.com/tiergate/tiergate"
)

func (m *machine) number(f float64) (tiergate.Value, bool) {
	if math.IsNaN(f) {
		return m.fail(errNotNumber)
	}
	return number(f), true
}

func (m *machine) arithmetic(n *node) (tiergate.Value, bool) {
	if n.folded {
		return m.foldedArithmetic(n)
	}
	if n.spread {
		return m.arithmeticOf(n)
	}
	var result float64
	for i := range n.kids {
		v, ok := m.eval(&n.kids[i])
		if !ok {
			return v, false
		}
		if !hasNumber(v) {
			return m.fail(errNotNumber)
		}
		m.chargeText(v)
		f := toNumber(v)
		if i > 0 && n.op == opDivide && (f == 0 || math.IsNaN(f)) {
			return m.fail(errNotNumber)
		}
		if i == 0 {
			result = f
			continue
		}
		result = calculate(n.op, result, f)
	}
	switch {
	case len(n.kids) == 0 && n.op == opMultiply:
		result = 1
	case len(n.kids) == 1 && n.op == opSubtract:
		result = -result
	}
	return m.number(result)
}

func calculate(op opID, a, b float64) float64 {
	switch op {
	case opAdd:
		return a + b
	case opSubtract:
		return a - b
	case opMultiply:
		return a * b
	case opDivide:
		return a / b
	}
	return math.Mod(a, b)
}

// arithmeticOf calculates with one operand, or over the elements of one that is a list.
// The result may be NaN: only intermediate ones are checked.
func (m *machine) arithmeticOf(n *node) (tiergate.Value, bool) {
	v, ok := m.eval(&n.kids[0])
	if !ok {
		return v, false
	}
	sumOrDifference := n.op == opAdd || n.op == opSubtract
	if sumOrDifference || n.op == opDivide {
		m.frame.prev = v
	}
	m.chargeText(v)
	if !isArray(v) {
		if !sumOrDifference {
			return m.fail(errNotList)
		}
		f, ok := m.number(toNumber(v))
		if n.op == opSubtract {
			f = number(-f.Float())
		}
		return f, ok
	}
	if n.op == opDivide || n.op == opSubtract {
		if v.Len() == 1 {
			return m.inverse(n.op, v.Index(0))
		}
	}
	return m.accumulate(n.op, v)
}

// inverse is 1/x or -x for a list of one.
func (m *machine) inverse(op opID, x tiergate.Value) (tiergate.Value, bool) {
	if !hasNumber(x) || op == opDivide && falsy(x) {
		return m.fail(errNotNumber)
	}
	if op == opSubtract {
		return number(-toNumber(x)), true
	}
	return number(1 / toNumber(x)), true
}

func (m *machine) accumulate(op opID, v tiergate.Value) (tiergate.Value, bool) {
	if v.Len() < leastOperands(op) {
		return m.fail(errArguments)
	}
	acc, from := v.Index(0), 1
	switch op {
	case opAdd:
		acc, from = number(0), 0
	case opMultiply:
		acc, from = number(1), 0
	}
	for i := from; i < v.Len(); i++ {
		b := v.Index(i)
		m.chargeText(b)
		if op == opDivide && falsy(b) || !hasNumber(b) || op != opAdd && !hasNumber(acc) {
			return m.fail(errNotNumber)
		}
		acc = number(calculate(op, toNumber(acc), toNumber(b)))
	}
	return acc, true
}

// foldedArithmetic calculates as the interpreter does.
func (m *machine) foldedArithmetic(n *node) (tiergate.Value, bool) {
	var a arguments
	unary := n.op == opAdd || n.op == opSubtract
	if unary && n.spread {
		v, ok := m.eval(&n.kids[0])
		if !ok || !isArray(v) {
			return m.foldedUnary(n.op, v, ok)
		}
		a.n, a.many = v.Len(), v
	} else if !m.arguments(n, &a) {
		return tiergate.Value{}, false
	}
	if a.n < leastOperands(n.op) {
		return m.fail(errArguments)
	}
	for i := range a.n {
		if isComposite(a.at(i)) {
			return m.fail(errNotNumber)
		}
	}
	return m.foldedResult(n.op, &a)
}

func (m *machine) foldedUnary(op opID, v tiergate.Value, ok bool) (tiergate.Value, bool) {
	switch {
	case !ok:
		return v, false
	case falsy(v):
		return number(0), true
	case isComposite(v):
		return m.fail(errNotNumber)
	case op == opSubtract:
		return m.number(-toNumber(v))
	}
	return m.number(toNumber(v))
}

func (m *machine) foldedResult(op opID, a *arguments) (tiergate.Value, bool) {
	first := a.at(0)
	if a.n == 1 && op == opSubtract {
		return number(-toNumber(first)), true
	}
	if a.n == 1 && op == opDivide {
		if f := toNumber(first); f != 0 && !math.IsNaN(f) {
			return number(1 / f), true
		}
		return m.fail(errNotNumber)
	}
	result, from := toNumber(first), 1
	switch op {
	case opAdd:
		result, from = 0, 0
	case opMultiply:
		result, from = 1, 0
	}
	for i := from; i < a.n; i++ {
		if op == opDivide && falsy(a.at(i)) {
			return m.fail(errNotNumber)
		}
		result = calculate(op, result, toNumber(a.at(i)))
	}
	if op == opDivide && math.IsInf(result, 1) {
		return m.fail(errNotNumber)
	}
	return m.number(result)
}

// extreme is max and min, of numbers only.
func (m *machine) extreme(n *node) (tiergate.Value, bool) {
	var a arguments
	if !m.arguments(n, &a) {
		return tiergate.Value{}, false
	}
	var best tiergate.Value
	for i := range a.n {
		v := a.at(i)
		if v.Kind() != tiergate.NumberValue {
			return m.fail(errNotNumber)
		}
		if i == 0 || n.op == opMax && v.Float() > best.Float() || n.op == opMin && v.Float() < best.Float() {
			best = v
		}
	}
	if a.n == 0 {
		return m.fail(errArguments)
	}
	return best, true
}

func leastOperands(op opID) int {
	switch op {
	case opSubtract, opDivide:
		return 1
	case opModulo:
		return 2
	}
	return 0
}
