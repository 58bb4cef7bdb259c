package targeting

import (
	"math"

	"github.com/tiergate/tiergate"
)

// A node is one step of a compiled rule.
type node struct {
	op opID
	// folded nodes behave as json-logic-engine's interpreter does, which computes constant
	// parts and what an if of one or two parts holds; the others as its compiler does.
	folded bool
	// spread nodes have one kid that yields the argument, or the list of arguments.
	spread bool
	strict bool // === and !==, and var by the rules of a computed path
	plain  bool // an (in)equality whose second operand is a constant or a variable
	head   head
	lit    tiergate.Value // of opConst
	path   []string       // of opVar and simple opMissing
	kids   []node
	more   *more
}

// more is what few nodes have.
type more struct {
	err   error  // of opFail
	split *split // of opFractional with constant entries
}

func constNode(v tiergate.Value) node { return node{op: opConst, lit: v} }

func failNode(err error) node { return node{op: opFail, more: &more{err: err}} }

func (n *node) isConst() bool { return n.op == opConst }

// A builder turns syntax into nodes.
type builder struct {
	path   path
	reads  Reads
	inside int // operators around us that visit an array
}

func (b *builder) error(err error) error { return b.path.error(err.Error()) }

// compiled builds a part that reads the context, and computes one that does not.
func (b *builder) compiled(s *syntax) (node, error) {
	switch s.kind {
	case list:
		kids, err := b.compiledAll(s.list)
		return listNode(kids), err
	case operation:
		b.path.enter(s.op.name, 0)
		defer b.path.leave()
		if s.constant {
			return b.fold(s)
		}
		return s.op.build(b, s.op, s.args)
	}
	return constNode(s.lit), nil
}

func (b *builder) compiledAll(ss []*syntax) ([]node, error) {
	kids := make([]node, len(ss))
	for i, s := range ss {
		b.path.enter("", i)
		kid, err := b.compiled(s)
		if err != nil {
			return nil, err
		}
		b.path.leave()
		kids[i] = kid
	}
	return kids, nil
}

// listNode makes an array of what its kids yield, a constant when they all are.
func listNode(kids []node) node {
	items := make([]tiergate.Value, len(kids))
	for i := range kids {
		if !kids[i].isConst() {
			return node{op: opList, kids: kids}
		}
		items[i] = kids[i].lit
	}
	return constNode(tiergate.ArrayOf(items))
}

// fold computes a constant part.
func (b *builder) fold(s *syntax) (node, error) {
	reads := b.reads
	n := b.interpreted(s)
	b.reads = reads
	v, err := compute(&n)
	if err != nil {
		return node{}, b.error(err)
	}
	return constNode(v), nil
}

// compute runs a node with an empty context.
func compute(n *node) (tiergate.Value, error) {
	m := machine{steps: MaxSteps, frame: frame{kind: frameItem, item: tiergate.ObjectOf(nil, nil)}}
	v, ok := m.eval(n)
	if !ok {
		return v, m.err
	}
	return v, nil
}

// arguments builds an operator's arguments: a list, or one kid to spread.
func (b *builder) arguments(op *operator, args *syntax) (node, error) {
	args = args.wrapped()
	if args.kind != list {
		kid, err := b.compiled(args)
		return node{op: op.id, spread: true, kids: []node{kid}}, err
	}
	kids, err := b.compiledAll(args.list)
	return node{op: op.id, kids: kids}, err
}

func (b *builder) call(op *operator, args *syntax) (node, error) { return b.arguments(op, args) }

func (b *builder) conditional(op *operator, args *syntax) (node, error) {
	if args.kind != list || len(args.list) < 3 {
		return b.interpretedOperation(op, args), nil
	}
	kids, err := b.compiledAll(args.list)
	if err == nil && len(kids)%2 == 0 {
		kids = append(kids, constNode(tiergate.NullOf()))
	}
	return node{op: op.id, kids: kids}, err
}

func (b *builder) junction(op *operator, args *syntax) (node, error) {
	if args.kind != list {
		return failNode(errArguments), nil
	}
	kids, err := b.compiledAll(args.list)
	return node{op: op.id, kids: kids}, err
}

func (b *builder) negation(op *operator, args *syntax) (node, error) {
	args = args.wrapped()
	if args.kind == list {
		args = args.at(0)
	}
	kid, err := b.compiled(args)
	return node{op: op.id, kids: []node{kid}}, err
}

func (b *builder) comparison(op *operator, args *syntax) (node, error) {
	if args.kind != list || len(args.list) < 2 {
		return failNode(errArguments), nil
	}
	kids, err := b.compiledAll(args.list)
	n := node{op: op.id, strict: isStrict(op.id), kids: kids}
	if len(kids) == 2 && op.id <= opNotSame {
		n.plain = kids[1].isConst() || kids[1].op == opVar && !kids[1].folded && len(kids[1].kids) == 0
	}
	return n, err
}

func isStrict(op opID) bool { return op == opSame || op == opNotSame }

func (b *builder) arithmetic(op *operator, args *syntax) (node, error) {
	n, err := b.arguments(op, args)
	if err != nil || n.spread {
		return n, err
	}
	if len(n.kids) < leastOperands(op.id) {
		return node{}, b.error(errArguments)
	}
	if op.id == opDivide && len(n.kids) == 1 {
		n.kids = []node{constNode(number(1)), n.kids[0]}
		args = &syntax{kind: list, list: []*syntax{absent, args.wrapped().at(0)}}
	}
	for i := range n.kids {
		if err := constOperand(&n.kids[i], args.wrapped().at(i), op.id == opDivide && i > 0); err != nil {
			return node{}, b.error(err)
		}
	}
	return n, nil
}

// constOperand refuses the constants that cannot be an operand when the rule is read.
func constOperand(kid *node, s *syntax, divisor bool) error {
	switch {
	case s.kind == list:
		return errNotNumber
	case !kid.isConst():
		return nil
	case kid.lit.Kind() == tiergate.ObjectValue && s.kind == literal:
		return errNotNumber
	case isString(kid.lit) && math.IsNaN(toNumber(kid.lit)):
		return errNotNumber
	case divisor && (isString(kid.lit) || kid.lit.Kind() == tiergate.NumberValue) && toNumber(kid.lit) == 0:
		return errNotNumber
	}
	return nil
}

// visitor builds what visits an array; reduce has an initial value besides.
func (b *builder) visitor(op *operator, args *syntax) (node, error) {
	if args.kind != list {
		return node{}, b.error(errArguments)
	}
	collection, err := b.compiled(args.at(0))
	if err != nil {
		return node{}, err
	}
	b.inside++
	visit, err := b.compiled(args.at(1))
	b.inside--
	if err != nil {
		return node{}, err
	}
	n := node{op: op.id, kids: []node{collection, visit}}
	if op.id == opReduce && len(args.list) > 2 {
		initial, err := b.compiled(args.at(2))
		if err != nil {
			return node{}, err
		}
		n.kids = append(n.kids, initial)
	}
	return n, nil
}

func (b *builder) variable(op *operator, args *syntax) (node, error) {
	key, fallback := args, absent
	if args.kind == list {
		key, fallback = args.at(0), args.at(1)
	}
	simple := key.kind == literal && (key.lit.Kind() == tiergate.NumberValue || isString(key.lit) || isNullish(key.lit))
	if simple && (args.kind != list || len(args.list) <= 2) {
		if isNullish(key.lit) || isString(key.lit) && key.lit.Text() == "" {
			b.readAll()
			return node{op: opVar, folded: true}, nil
		}
		n := b.pathNode(toString(key.lit))
		kid, err := b.compiled(fallback)
		if err == nil && !(kid.isConst() && isNullish(kid.lit)) {
			n.kids = []node{kid}
		}
		return n, err
	}
	b.readAll()
	args = args.wrapped()
	if args.kind == list && len(args.list) == 1 && args.at(0).kind != list {
		args = args.at(0)
	}
	n := node{op: opVarOf, spread: args.kind != list}
	kids, err := b.compiledAll(listOf(args))
	n.kids = kids
	return n, err
}

func listOf(s *syntax) []*syntax {
	if s.kind == list {
		return s.list
	}
	return []*syntax{s}
}

// pathNode reads a variable whose path is known.
func (b *builder) pathNode(path string) node {
	n := node{op: opVar, path: splitPath(path)}
	if len(n.path) > 0 {
		n.head = headOf(n.path[0])
	}
	b.read(n.path)
	return n
}

// read takes note of what a path from the evaluation context depends on.
func (b *builder) read(path []string) {
	switch {
	case b.inside > 0:
	case len(path) == 0 || path[0] == "$flagd" && len(path) == 1:
		b.readAll()
	case path[0] != "$flagd":
		b.reads.Caller = true
	case path[1] == "timestamp":
		b.reads.Time = true
	}
}

func (b *builder) readAll() {
	if b.inside == 0 {
		b.reads = Reads{Caller: true, Time: true}
	}
}

func (b *builder) missing(op *operator, args *syntax) (node, error) {
	n, err := b.arguments(op, args)
	if err != nil {
		return n, err
	}
	for i := range n.kids {
		if n.spread || !n.kids[i].isConst() {
			b.readAll()
			continue
		}
		b.read(splitPath(toString(n.kids[i].lit)))
	}
	if items := listNode(n.kids); !n.spread && items.isConst() {
		if names, ok := plainNames(items.lit); ok {
			return node{op: opMissing, path: names}, nil
		}
	}
	return n, nil
}

// plainNames returns the names that missing looks for when they are up to two without a
// dot: flagd-core compiles those to plain member accesses, for which "" is a name too.
func plainNames(list tiergate.Value) ([]string, bool) {
	names := make([]string, list.Len())
	for i := range names {
		if !isString(list.Index(i)) || hasDot(list.Index(i).Text()) {
			return nil, false
		}
		names[i] = list.Index(i).Text()
	}
	return names, len(names) <= 2
}

func (b *builder) missingSome(op *operator, args *syntax) (node, error) {
	args = args.wrapped()
	if args.kind != list {
		return node{}, b.error(errArguments)
	}
	if len(args.list) < 2 {
		return failNode(errArguments), nil
	}
	need, err := b.compiled(args.at(0))
	if err != nil {
		return node{}, err
	}
	names, err := b.compiled(args.at(1))
	if err != nil {
		return node{}, err
	}
	if names.isConst() && isArray(names.lit) {
		for i := range names.lit.Len() {
			b.read(splitPath(toString(names.lit.Index(i))))
		}
	} else {
		b.readAll()
	}
	n := node{op: op.id, kids: []node{need, names}}
	if args.at(1).kind == literal && isArray(names.lit) {
		if plain, ok := plainNames(names.lit); ok {
			n.path = plain
		}
	}
	return n, nil
}
