package targeting

import (
	"errors"
	"strconv"
	"unicode/utf8"

	"github.com/tiergate/tiergate"
)

// A Scope is what a rule reads about one decision. Its zero value knows nothing. A Scope
// may be on the caller's stack; Eval neither keeps nor changes it.
type Scope struct {
	// Attributes are the evaluation context, an object or Undefined. Its tier and team are
	// never read, its targetingKey only when UserID is empty.
	Attributes tiergate.Value
	FlagKey    string // {"var": "$flagd.flagKey"}
	UserID     string // {"var": "targetingKey"}; "" when no user is named
	Tier       string // {"var": "tier"}, the resolved tier; "" when there is none
	Team       string // {"var": "team"}, the resolved team; "" when there is none
	Unix       int64  // {"var": "$flagd.timestamp"}, in seconds
}

// A head says where the first name of a path is looked up.
type head uint8

const (
	headAttribute head = iota
	headUser
	headTier
	headTeam
	headFlagd
)

func headOf(name string) head {
	switch name {
	case "targetingKey":
		return headUser
	case "tier":
		return headTier
	case "team":
		return headTeam
	case "$flagd":
		return headFlagd
	}
	return headAttribute
}

func textOrNothing(s string) tiergate.Value {
	if s == "" {
		return tiergate.Value{}
	}
	return tiergate.StringOf(s)
}

// walk follows a path from the evaluation context; Undefined when it ends on the way.
func (s *Scope) walk(h head, path []string) tiergate.Value {
	var v tiergate.Value
	switch h {
	case headUser:
		if v = textOrNothing(s.UserID); s.UserID == "" {
			v = s.Attributes.Field(path[0])
		}
	case headTier:
		v = textOrNothing(s.Tier)
	case headTeam:
		v = textOrNothing(s.Team)
	case headFlagd:
		return s.walkFlagd(path[1:])
	default:
		v = s.Attributes.Field(path[0])
	}
	return walkFrom(v, path[1:])
}

func (s *Scope) walkFlagd(path []string) tiergate.Value {
	if len(path) == 0 {
		return s.flagd()
	}
	switch path[0] {
	case "flagKey":
		return walkFrom(tiergate.StringOf(s.FlagKey), path[1:])
	case "timestamp":
		return walkFrom(number(float64(s.Unix)), path[1:])
	}
	return tiergate.Value{}
}

func (s *Scope) flagd() tiergate.Value {
	return tiergate.ObjectOf([]string{"flagKey", "timestamp"},
		[]tiergate.Value{tiergate.StringOf(s.FlagKey), number(float64(s.Unix))})
}

// whole is the context as one object.
func (s *Scope) whole() tiergate.Value {
	n := s.Attributes.Len()
	keys, items := make([]string, 0, n+4), make([]tiergate.Value, 0, n+4)
	add := func(k string, v tiergate.Value) {
		if v.IsDefined() {
			keys, items = append(keys, k), append(items, v)
		}
	}
	for i := range n {
		if k := s.Attributes.KeyAt(i); headOf(k) == headAttribute {
			add(k, s.Attributes.Index(i))
		}
	}
	add("targetingKey", s.walk(headUser, []string{"targetingKey"}))
	add("tier", textOrNothing(s.Tier))
	add("team", textOrNothing(s.Team))
	add("$flagd", s.flagd())
	return tiergate.ObjectOf(keys, items)
}

func walkFrom(v tiergate.Value, path []string) tiergate.Value {
	for _, name := range path {
		if isNullish(v) {
			return tiergate.Value{}
		}
		v = property(v, name)
	}
	return v
}

// property is JavaScript's v[name] without what prototypes hold: members of objects,
// elements of arrays and characters of strings by index, and length.
func property(v tiergate.Value, name string) tiergate.Value {
	switch v.Kind() {
	case tiergate.ObjectValue:
		return v.Field(name)
	case tiergate.ArrayValue:
		if name == "length" {
			return number(float64(v.Len()))
		}
		if i, ok := index(name); ok {
			return v.Index(i)
		}
	case tiergate.StringValue:
		if name == "length" {
			return number(float64(lengthUTF16(v.Text())))
		}
		if i, ok := index(name); ok {
			return characterAt(v.Text(), i)
		}
	}
	return tiergate.Value{}
}

// index reads a canonical array index.
func index(name string) (int, bool) {
	if !allDigits(name) || len(name) > 9 || len(name) > 1 && name[0] == '0' {
		return 0, false
	}
	i, err := strconv.Atoi(name)
	return i, err == nil
}

func characterAt(s string, i int) tiergate.Value {
	at := 0
	for pos, r := range s {
		width := 1
		if r >= 0x10000 {
			width = 2
		}
		if i < at+width {
			if width == 2 {
				return tiergate.StringOf("\ufffd")
			}
			return tiergate.StringOf(s[pos : pos+utf8.RuneLen(r)])
		}
		at += width
	}
	return tiergate.Value{}
}

// MaxSteps bounds the operations of one evaluation: what a map in a map in a map may do.
const MaxSteps = 100_000

// The ways in which an evaluation ends without a value.
var (
	errSteps      = errors.New("the rule took more than " + strconv.Itoa(MaxSteps) + " steps")
	errNotNumber  = errors.New("an operand is not a number")
	errArguments  = errors.New("the arguments do not suit the operator")
	errNotList    = errors.New("an operand is not a list")
	errNotText    = errors.New("an operand is not a string")
	errDeepResult = errors.New("reduce accumulates lists and objects of scalars only")
)

// A machine runs one rule once.
type machine struct {
	scope *Scope
	frame frame
	steps int
	err   error
	all   tiergate.Value // the whole context, once it was asked for
}

// A frame is what var reads: the whole context at first, and the elements of an array
// within an operator that visits one.
type frame struct {
	kind frameKind
	item tiergate.Value
	acc  tiergate.Value
	// prev is a variable of the JavaScript that flagd-core compiles a rule to. Comparisons
	// check their second operand against it, and operands may have changed it meanwhile.
	prev tiergate.Value
}

type frameKind uint8

const (
	frameContext frameKind = iota
	frameItem
	frameReduce
)

func (m *machine) fail(err error) (tiergate.Value, bool) {
	if m.err == nil {
		m.err = err
	}
	return tiergate.Value{}, false
}

// context is the value that var "" stands for.
func (m *machine) context() tiergate.Value {
	switch m.frame.kind {
	case frameItem:
		return m.frame.item
	case frameReduce:
		return tiergate.ObjectOf([]string{"accumulator", "current"}, []tiergate.Value{m.frame.acc, m.frame.item})
	}
	if !m.all.IsDefined() {
		m.all = m.scope.whole()
	}
	return m.all
}

// walk follows a path from the current context.
func (m *machine) walk(h head, path []string) tiergate.Value {
	switch {
	case len(path) == 0:
		return m.context()
	case m.frame.kind == frameContext:
		return m.scope.walk(h, path)
	}
	return walkFrom(m.member(path[0]), path[1:])
}

// member is the first step of a path.
func (m *machine) member(name string) tiergate.Value {
	switch m.frame.kind {
	case frameContext:
		return m.scope.walk(headOf(name), []string{name})
	case frameItem:
		return walkFrom(m.frame.item, []string{name})
	}
	switch name {
	case "accumulator":
		return m.frame.acc
	case "current":
		return m.frame.item
	}
	return tiergate.Value{}
}
