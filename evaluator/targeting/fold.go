package targeting

import (
	"github.com/tiergate/tiergate"
)

// interpreted builds a part as json-logic-engine's interpreter runs it. It never fails:
// what cannot work becomes a node that fails when it is reached.
func (b *builder) interpreted(s *syntax) node {
	switch s.kind {
	case list:
		kids, fault := b.eager(s.list)
		if fault != nil {
			return *fault
		}
		return listNode(kids)
	case operation:
		n := b.interpretedOperation(s.op, s.args)
		if !s.constant || n.op == opFail || n.op == opConst {
			return n
		}
		v, err := compute(&n)
		if err != nil {
			return failNode(err)
		}
		return constNode(v)
	}
	return constNode(s.lit)
}

// eager builds parts of which none may fail, else returns the fault.
func (b *builder) eager(ss []*syntax) ([]node, *node) {
	kids := b.lazy(ss)
	for i := range kids {
		if kids[i].op == opFail {
			return nil, &kids[i]
		}
	}
	return kids, nil
}

func (b *builder) lazy(ss []*syntax) []node {
	kids := make([]node, len(ss))
	for i, s := range ss {
		kids[i] = b.interpreted(s)
	}
	return kids
}

func (b *builder) interpretedOperation(op *operator, args *syntax) node {
	switch op.id {
	case opIf, opAnd, opOr:
		return b.interpretedLazy(op, args)
	case opEqual, opNotEqual, opSame, opNotSame, opLess, opLessEqual, opMore, opMoreEqual:
		return b.interpretedComparison(op, args)
	case opMap, opFilter, opAll, opSome, opNone:
		return b.interpretedVisitor(op, args)
	case opReduce:
		return b.interpretedReduce(op, args)
	case opVar:
		return b.interpretedVariable(args)
	}
	return b.interpretedCall(op, args)
}

func (b *builder) interpretedLazy(op *operator, args *syntax) node {
	if args.kind != list {
		return failNode(errArguments)
	}
	if op.id != opIf || len(args.list) != 3 {
		kids := b.lazy(args.list)
		if n := len(kids); op.id == opIf && n != 1 && n%2 == 0 {
			kids = append(kids, constNode(tiergate.NullOf()))
		}
		return node{op: op.id, folded: true, kids: kids}
	}
	kids, fault := b.eager(args.list)
	if fault != nil {
		return *fault
	}
	return node{op: op.id, folded: true, kids: kids}
}

func (b *builder) interpretedComparison(op *operator, args *syntax) node {
	if args.kind != list || len(args.list) < 2 {
		return failNode(errArguments)
	}
	n := node{op: op.id, folded: true, strict: isStrict(op.id)}
	if len(args.list) > 3 {
		n.kids = b.lazy(args.list)
		return n
	}
	kids, fault := b.eager(args.list)
	if fault != nil {
		return *fault
	}
	n.kids = kids
	return n
}

func (b *builder) interpretedVisitor(op *operator, args *syntax) node {
	if args.kind != list {
		return failNode(errArguments)
	}
	b.inside++
	visit := b.interpreted(args.at(1))
	b.inside--
	if op.id == opFilter && len(args.list) == 2 {
		switch {
		case visit.op == opFail:
			return visit
		case visit.isConst() && !truthy(visit.lit):
			return constNode(tiergate.ArrayOf(nil))
		case visit.isConst():
			return b.interpreted(args.at(0))
		}
	}
	return node{op: op.id, folded: true, kids: []node{b.interpreted(args.at(0)), visit}}
}

func (b *builder) interpretedReduce(op *operator, args *syntax) node {
	if args.kind != list {
		return failNode(errArguments)
	}
	root, visit := args.at(0), args.at(1)
	if visit.kind == literal && isNullish(visit.lit) {
		return failNode(errArguments)
	}
	if s := sumOrProduct(root, visit, args.list); s != nil {
		return b.interpreted(s)
	}
	n := node{op: op.id, folded: true, kids: []node{b.interpreted(root), {}}}
	b.inside++
	n.kids[1] = b.interpreted(visit)
	b.inside--
	if len(args.list) > 2 {
		n.kids = append(n.kids, b.interpreted(args.list[2]))
	}
	return n
}

// sumOrProduct rewrites a reduce that adds or multiplies up, as the engine does.
func sumOrProduct(root, visit *syntax, args []*syntax) *syntax {
	if visit.kind != operation || visit.op.id != opAdd && visit.op.id != opMultiply {
		return nil
	}
	if visit.args.kind != list || len(visit.args.list) != 2 {
		return nil
	}
	var names [2]string
	for i, operand := range visit.args.list {
		if operand.kind != operation || operand.op.id != opVar {
			return nil
		}
		names[i] = operand.args.lit.Text()
	}
	if names != [2]string{"accumulator", "current"} && names != [2]string{"current", "accumulator"} {
		return nil
	}
	initial := &syntax{lit: number(1), constant: true, constantInside: true}
	if visit.op.id == opAdd {
		initial.lit = number(0)
	}
	if len(args) > 2 && (visit.op.id == opMultiply || args[2].kind != literal || !falsy(args[2].lit)) {
		initial = args[2]
	}
	total := operationOf(visit.op, root)
	pair := &syntax{
		kind: list, list: []*syntax{total, initial},
		constant: total.constant && initial.constant, constantInside: total.constantInside && initial.constantInside,
	}
	return operationOf(visit.op, pair)
}

func operationOf(op *operator, args *syntax) *syntax {
	s := &syntax{kind: operation, op: op, args: args}
	s.constant, s.constantInside = constancy(op, args)
	return s
}

// flattened takes the list around the one argument of a unary operator away.
func flattened(args *syntax) *syntax {
	if args.kind == list && len(args.list) == 1 && args.list[0].kind != list {
		return args.list[0]
	}
	return args
}

func (b *builder) interpretedVariable(args *syntax) node {
	args = flattened(args)
	if args.kind == literal {
		return b.interpretedPath(args.lit)
	}
	b.readAll()
	kids, fault := b.eager(listOf(args))
	if fault != nil {
		return *fault
	}
	return node{op: opVarOf, spread: args.kind != list, kids: kids}
}

func (b *builder) interpretedPath(key tiergate.Value) node {
	switch {
	case falsy(key):
		b.readAll()
		return node{op: opVar, folded: true}
	case key.Kind() == tiergate.NumberValue:
		n := node{op: opVar, folded: true, path: []string{toString(key)}}
		b.read(n.path)
		return n
	case !isString(key):
		return failNode(errArguments)
	}
	n := b.pathNode(key.Text())
	n.folded = true
	// Paths of two or three names end at whatever is falsy on the way; others, and a name
	// with an escaped dot, are followed as computed ones are.
	n.strict = len(n.path) > 3 || len(n.path) == 1 && (hasDot(key.Text()) || n.path[0] != key.Text())
	return n
}

func (b *builder) interpretedCall(op *operator, args *syntax) node {
	if op.unary {
		args = flattened(args)
	} else {
		args = args.wrapped()
	}
	kids, fault := b.eager(listOf(args))
	if fault != nil {
		return *fault
	}
	if op.id == opMissing || op.id == opMissingSome {
		b.readAll()
	}
	if op.id == opFractional {
		b.reads.Caller = true
	}
	return node{op: op.id, folded: true, spread: args.kind != list, kids: kids}
}
