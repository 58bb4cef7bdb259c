package targeting

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// Bounds of a rule, so that no definition can exhaust a sidecar.
const (
	MaxDepth = 64    // operators within operators
	MaxNodes = 16384 // values in one rule, shared rules counted where they are used
)

// A syntax is a rule as written, with shared rules in place and operators known.
type syntax struct {
	lit  tiergate.Value // a scalar or the empty object; for an array without operators its value
	op   *operator      // nil unless it is an operation
	args *syntax        // the operation's argument as written
	list []*syntax      // the elements of an array
	kind syntaxKind

	// constant says that nothing in it reads the context; constantInside says so of a
	// part that stands where var reads the elements of a constant array.
	constant, constantInside bool
}

type syntaxKind uint8

const (
	literal syntaxKind = iota
	list
	operation
)

// A reader turns JSON into syntax.
type reader struct {
	shared map[string]json.RawMessage
	parsed map[string]tiergate.Value
	open   []string // the shared rules that we are inside of
	path   path
	depth  int
	nodes  int
}

func (r *reader) errorf(format string, args ...any) error {
	return r.path.error(fmt.Sprintf(format, args...))
}

// A path is where in a rule we are: operators, and elements of their lists.
type path []step

type step struct {
	operator string // "" for an element
	element  int
}

func (p *path) enter(operator string, element int) { *p = append(*p, step{operator, element}) }

func (p *path) leave() { *p = (*p)[:len(*p)-1] }

// error writes the place as if[1].fractional.
func (p path) error(message string) error {
	var b strings.Builder
	for i, s := range p {
		switch {
		case s.operator == "":
			fmt.Fprintf(&b, "[%d]", s.element)
		case i > 0:
			b.WriteString("." + s.operator)
		default:
			b.WriteString(s.operator)
		}
	}
	if len(p) > 0 {
		b.WriteString(": ")
	}
	return errors.New(b.String() + message)
}

// parse reads JSON text. An operation costs two levels of JSON. The Value is valid until
// the parser reads again.
func parse(p *jsonvalue.Parser, text json.RawMessage) (tiergate.Value, error) {
	return p.ParseWithin(bytes.TrimSpace(text), 2*MaxDepth+jsonvalue.MaxDepth)
}

// owned copies a value out of its parser's memory.
func owned(v tiergate.Value) tiergate.Value {
	switch v.Kind() {
	case tiergate.StringValue:
		return tiergate.StringOf(strings.Clone(v.Text()))
	case tiergate.NumberValue:
		return number(v.Float())
	case tiergate.ArrayValue:
		items := make([]tiergate.Value, v.Len())
		for i := range items {
			items[i] = owned(v.Index(i))
		}
		return tiergate.ArrayOf(items)
	case tiergate.ObjectValue:
		keys, items := make([]string, v.Len()), make([]tiergate.Value, v.Len())
		for i := range items {
			keys[i], items[i] = strings.Clone(v.KeyAt(i)), owned(v.Index(i))
		}
		return tiergate.ObjectOf(keys, items)
	}
	return v
}

// read turns a value into syntax.
func (r *reader) read(v tiergate.Value) (*syntax, error) {
	if r.nodes++; r.nodes > MaxNodes {
		return nil, r.errorf("a rule has at most %d values", MaxNodes)
	}
	switch {
	case isArray(v):
		return r.readList(v)
	case v.Kind() == tiergate.ObjectValue && v.Len() > 0:
		return r.readOperation(v)
	}
	return &syntax{lit: owned(v), constant: true, constantInside: true}, nil
}

func (r *reader) readList(v tiergate.Value) (*syntax, error) {
	s := &syntax{kind: list, list: make([]*syntax, v.Len()), constant: true, constantInside: true}
	for i := range s.list {
		r.path.enter("", i)
		item, err := r.read(v.Index(i))
		if err != nil {
			return nil, err
		}
		r.path.leave()
		s.list[i] = item
		s.constant = s.constant && item.constant
		s.constantInside = s.constantInside && item.constantInside
	}
	return s, nil
}

func (r *reader) readOperation(v tiergate.Value) (*syntax, error) {
	name := v.KeyAt(0)
	if v.Len() > 1 {
		return nil, r.errorf("an operation has one operator, not %q and %q", name, v.KeyAt(1))
	}
	if name == "$ref" {
		return r.readShared(v.Index(0))
	}
	op := operators[name]
	if op == nil {
		return nil, r.errorf("there is no operator %.80q", name)
	}
	if r.depth++; r.depth > MaxDepth {
		return nil, r.errorf("operators are nested deeper than %d", MaxDepth)
	}
	r.path.enter(op.name, 0)
	args, err := r.readArguments(op, v.Index(0))
	if err != nil {
		return nil, err
	}
	r.path.leave()
	r.depth--
	s := &syntax{kind: operation, op: op, args: args}
	s.constant, s.constantInside = constancy(op, args)
	return s, nil
}

// readArguments reads an operator's argument. The names that missing_some looks for are
// never rules.
func (r *reader) readArguments(op *operator, v tiergate.Value) (*syntax, error) {
	if op.id != opMissingSome || !isArray(v) || !isArray(v.Index(1)) {
		return r.read(v)
	}
	if r.nodes += v.Index(1).Len(); r.nodes > MaxNodes {
		return nil, r.errorf("a rule has at most %d values", MaxNodes)
	}
	need, err := r.read(v.Index(0))
	if err != nil {
		return nil, err
	}
	names := &syntax{lit: owned(v.Index(1)), constant: true, constantInside: true}
	return &syntax{kind: list, list: []*syntax{need, names}}, nil
}

func (r *reader) readShared(name tiergate.Value) (*syntax, error) {
	if !isString(name) {
		return nil, r.errorf("the name in $ref is a string")
	}
	text, ok := r.shared[name.Text()]
	if !ok {
		return nil, r.errorf("there is no shared rule %.80q", name.Text())
	}
	if slices.Contains(r.open, name.Text()) {
		return nil, r.errorf("shared rule %.80q refers to itself", name.Text())
	}
	v, ok := r.parsed[name.Text()]
	if !ok {
		var err error
		if v, err = parse(new(jsonvalue.Parser), text); err != nil {
			return nil, r.errorf("shared rule %.80q: %v", name.Text(), err)
		}
		if r.parsed == nil {
			r.parsed = map[string]tiergate.Value{}
		}
		r.parsed[name.Text()] = v
	}
	r.open = append(r.open, name.Text())
	s, err := r.read(v)
	r.open = r.open[:len(r.open)-1]
	return s, err
}

// constancy says whether an operation can be computed when the rule is read.
func constancy(op *operator, args *syntax) (constant, inside bool) {
	switch op.reads {
	case readsAlways:
		return false, false
	case readsItem:
		return false, !strings.Contains(toString(valueOf(args)), "../../")
	case readsNames:
		empty := args.kind == list && len(args.list) == 0
		return empty, empty
	case readsCollection:
		first, second := args.at(0), args.at(1)
		return first.constant && second.constantInside, first.constantInside && second.constantInside
	}
	return args.constant, args.constantInside
}

var absent = &syntax{constant: true, constantInside: true}

// at returns element i of a list, and what is undefined in JavaScript when there is none.
func (s *syntax) at(i int) *syntax {
	if s.kind == list && i < len(s.list) {
		return s.list[i]
	}
	return absent
}

// isScalar reports whether JavaScript would not call it an object.
func (s *syntax) isScalar() bool {
	return s.kind == literal && s.lit.Kind() != tiergate.ObjectValue && s.lit.Kind() != tiergate.ArrayValue
}

// wrapped makes a scalar a list of one.
func (s *syntax) wrapped() *syntax {
	if s.isScalar() {
		return &syntax{kind: list, list: []*syntax{s}, constant: s.constant, constantInside: s.constantInside}
	}
	return s
}

// valueOf returns syntax as the JSON value it was, operations as empty objects.
func valueOf(s *syntax) tiergate.Value {
	switch s.kind {
	case list:
		items := make([]tiergate.Value, len(s.list))
		for i, item := range s.list {
			items[i] = valueOf(item)
		}
		return tiergate.ArrayOf(items)
	case operation:
		return tiergate.ObjectOf(nil, nil)
	}
	return s.lit
}
