package targeting

import (
	"math"
	"strings"

	"github.com/tiergate/tiergate"
)

// cat joins its operands as JavaScript's + does: null is the word "null", except in
// constant parts, where it is nothing.
func (m *machine) cat(n *node) (tiergate.Value, bool) {
	if n.spread {
		v, ok := m.eval(&n.kids[0])
		if !ok {
			return v, false
		}
		switch {
		case isNullish(v):
			return m.fail(errNotText)
		case isArray(v):
			m.chargeText(v)
			return joined(v), true
		}
		return tiergate.StringOf(toString(v)), true
	}
	var text buffer
	ok := m.appendCat(&text, n)
	return tiergate.StringOf(string(text.bytes())), ok
}

// MaxText bounds the text that one operator builds, in bytes.
const MaxText = 1 << 20

// A buffer gathers text; a little of it needs no memory.
type buffer struct {
	little [192]byte
	n      int
	large  []byte // everything, once it is not little
}

func (b *buffer) write(s string) {
	if b.large == nil && b.n+len(s) <= len(b.little) {
		b.n += copy(b.little[b.n:], s)
		return
	}
	if b.large == nil {
		b.large = append(make([]byte, 0, 2*(b.n+len(s))), b.little[:b.n]...)
	}
	b.large = append(b.large, s...)
}

func (b *buffer) bytes() []byte {
	if b.large != nil {
		return b.large
	}
	return b.little[:b.n]
}

func (b *buffer) writeValue(v tiergate.Value) {
	if v.Kind() == tiergate.NumberValue {
		var digits [32]byte
		b.write(string(appendNumber(digits[:0], v.Float())))
		return
	}
	b.write(toString(v))
}

func (m *machine) appendCat(b *buffer, n *node) bool {
	for i := range n.kids {
		v, ok := m.eval(&n.kids[i])
		if !ok {
			return false
		}
		if n.folded && isNullish(v) {
			continue
		}
		m.chargeText(v)
		if b.writeValue(v); len(b.large) > MaxText {
			m.fail(errText)
			return false
		}
	}
	return true
}

func joined(v tiergate.Value) tiergate.Value {
	var dst []byte
	for i := range v.Len() {
		if item := v.Index(i); !isNullish(item) {
			dst = appendString(dst, item)
		}
	}
	return tiergate.StringOf(string(dst))
}

// substr is String.prototype.substr, with a negative length counted from the end.
func (m *machine) substr(n *node) (tiergate.Value, bool) {
	var a arguments
	if !m.arguments(n, &a) {
		return tiergate.Value{}, false
	}
	s, from, length := a.at(0), a.at(1), a.at(2)
	if !isString(s) {
		return m.fail(errNotText)
	}
	text := s.Text()
	m.chargeText(s)
	if !holds(opLess, length, number(0)) {
		return tiergate.StringOf(substr(text, from, length)), true
	}
	rest := substr(text, from, tiergate.Value{})
	keep := number(float64(lengthUTF16(rest)) + toNumber(length))
	if isString(length) || isComposite(length) { // JavaScript's + then joins text: "5-1"
		keep = number(toNumber(tiergate.StringOf(toString(number(float64(lengthUTF16(rest)))) + toString(length))))
	}
	return tiergate.StringOf(substr(rest, number(0), keep)), true
}

func substr(s string, from, length tiergate.Value) string {
	size := float64(lengthUTF16(s))
	start := toInteger(from)
	if start < 0 {
		start = max(size+start, 0)
	}
	start = min(start, size)
	end := size
	if length.IsDefined() {
		end = min(max(start+toInteger(length), start), size)
	}
	if start == 0 && end == size {
		return s
	}
	return sliceUTF16(s, int(start), int(end))
}

// toInteger is ToIntegerOrInfinity.
func toInteger(v tiergate.Value) float64 {
	f := toNumber(v)
	if math.IsNaN(f) {
		return 0
	}
	return math.Trunc(f)
}

// in looks for an element in an array, or for text in a string.
func (m *machine) in(n *node) (tiergate.Value, bool) {
	var needle, hay tiergate.Value
	if n.folded || n.spread || len(n.kids) < 2 {
		var a arguments
		if !m.arguments(n, &a) {
			return tiergate.Value{}, false
		}
		needle, hay = a.at(0), a.at(1)
	} else {
		var ok bool
		if hay, ok = m.eval(&n.kids[1]); !ok {
			return hay, false
		}
		if needle, ok = m.eval(&n.kids[0]); !ok {
			return needle, false
		}
	}
	switch {
	case falsy(hay):
		return tiergate.BoolOf(false), true
	case isString(hay):
		m.chargeText(hay)
		m.chargeText(needle)
		return tiergate.BoolOf(strings.Contains(hay.Text(), toString(needle))), true
	case !isArray(hay):
		return m.fail(errNotList)
	}
	m.charge(hay.Len())
	for i := range hay.Len() {
		if sameValueZero(hay.Index(i), needle) {
			return tiergate.BoolOf(true), true
		}
	}
	return tiergate.BoolOf(false), true
}

// merge puts the elements of its arguments behind each other.
func (m *machine) merge(n *node) (tiergate.Value, bool) {
	var a arguments
	if !m.arguments(n, &a) {
		return tiergate.Value{}, false
	}
	var items []tiergate.Value
	for i := range a.n {
		v := a.at(i)
		if !isArray(v) {
			items = append(items, v)
			continue
		}
		for j := range v.Len() {
			items = append(items, v.Index(j))
		}
		if m.steps -= v.Len(); m.steps < 0 {
			return m.fail(errSteps)
		}
	}
	return tiergate.ArrayOf(items), true
}

// log yields its first argument; nothing is logged per decision.
func (m *machine) log(n *node) (tiergate.Value, bool) {
	var a arguments
	if !m.arguments(n, &a) {
		return tiergate.Value{}, false
	}
	return a.at(0), true
}

// affix is starts_with and ends_with; null when the arguments are not two strings.
func (m *machine) affix(n *node) (tiergate.Value, bool) {
	var a arguments
	if !m.arguments(n, &a) {
		return tiergate.Value{}, false
	}
	s, part := a.at(0), a.at(1)
	m.chargeText(part)
	if a.n != 2 || !isString(s) || !isString(part) {
		return tiergate.NullOf(), true
	}
	if n.op == opStartsWith {
		return tiergate.BoolOf(strings.HasPrefix(s.Text(), part.Text())), true
	}
	return tiergate.BoolOf(strings.HasSuffix(s.Text(), part.Text())), true
}

// semVer compares two versions; null when it cannot.
func (m *machine) semVer(n *node) (tiergate.Value, bool) {
	var a arguments
	if !m.arguments(n, &a) {
		return tiergate.Value{}, false
	}
	if a.n != 3 {
		return tiergate.NullOf(), true
	}
	m.chargeText(a.at(0))
	m.chargeText(a.at(2))
	result, ok := compareVersions(toString(a.at(0)), toString(a.at(1)), toString(a.at(2)))
	if !ok {
		return tiergate.NullOf(), true
	}
	return tiergate.BoolOf(result), true
}
