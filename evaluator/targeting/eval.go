package targeting

import "github.com/tiergate/tiergate"

// eval runs a node; false means that m.err says why there is no value. The calls are all
// static, so that neither the machine nor the caller's scope escapes to the heap.
func (m *machine) eval(n *node) (tiergate.Value, bool) {
	if m.steps--; m.steps < 0 {
		return m.fail(errSteps)
	}
	switch n.op {
	case opConst:
		return n.lit, true
	case opVar:
		return m.variable(n)
	case opIf:
		return m.conditional(n)
	case opAnd, opOr:
		return m.junction(n)
	case opNot, opTrue:
		return m.negation(n)
	case opEqual, opNotEqual, opSame, opNotSame, opLess, opLessEqual, opMore, opMoreEqual:
		return m.comparison(n)
	case opIn:
		return m.in(n)
	case opFractional:
		return m.fractional(n)
	case opStartsWith, opEndsWith:
		return m.affix(n)
	case opSemVer:
		return m.semVer(n)
	case opAdd, opSubtract, opMultiply, opDivide, opModulo:
		return m.arithmetic(n)
	}
	return m.evalRare(n)
}

func (m *machine) evalRare(n *node) (tiergate.Value, bool) {
	switch n.op {
	case opFail:
		return m.fail(n.more.err)
	case opList:
		return m.list(n)
	case opVarOf:
		return m.variableOf(n)
	case opMissing:
		return m.missing(n)
	case opMissingSome:
		return m.missingSome(n)
	case opMax, opMin:
		return m.extreme(n)
	case opCat:
		return m.cat(n)
	case opSubstr:
		return m.substr(n)
	case opMerge:
		return m.merge(n)
	case opLog:
		return m.log(n)
	case opAll:
		return m.every(n)
	case opSome, opNone:
		return m.some(n)
	case opMap, opFilter:
		return m.mapOrFilter(n)
	case opReduce:
		return m.reduce(n)
	}
	panic("tiergate: bug: a rule has a step that the evaluator does not know")
}

func (m *machine) list(n *node) (tiergate.Value, bool) {
	items := make([]tiergate.Value, len(n.kids))
	for i := range n.kids {
		v, ok := m.eval(&n.kids[i])
		if !ok {
			return v, false
		}
		items[i] = v
	}
	return tiergate.ArrayOf(items), true
}

// arguments are an operator's evaluated arguments. Up to four need no memory.
type arguments struct {
	n    int
	few  [4]tiergate.Value
	many tiergate.Value // an array; Undefined when few holds them
}

func (a *arguments) at(i int) tiergate.Value {
	if a.many.IsDefined() {
		return a.many.Index(i)
	}
	if i < a.n {
		return a.few[i]
	}
	return tiergate.Value{}
}

// arguments evaluates the kids of n, or spreads the value of its one kid.
func (m *machine) arguments(n *node, a *arguments) bool {
	switch {
	case n.spread:
		v, ok := m.eval(&n.kids[0])
		if isArray(v) {
			a.n, a.many = v.Len(), v
		} else {
			a.n, a.few[0] = 1, v
		}
		return ok
	case len(n.kids) > len(a.few):
		v, ok := m.list(n)
		a.n, a.many = len(n.kids), v
		return ok
	}
	a.n = len(n.kids)
	for i := range n.kids {
		v, ok := m.eval(&n.kids[i])
		if !ok {
			return false
		}
		a.few[i] = v
	}
	return true
}
