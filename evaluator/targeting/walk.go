package targeting

import (
	"strconv"
	"unicode/utf8"

	"github.com/tiergate/tiergate"
)

// walk follows a path from the current context; Undefined when it ends on the way.
func (m *machine) walk(h head, path []string) tiergate.Value {
	switch {
	case len(path) == 0:
		return m.context()
	case m.frame.kind != frameContext:
		return m.walkFrom(m.member(path[0]), path[1:])
	}
	switch h {
	case headUser:
		return m.walkFrom(m.scope.user(), path[1:])
	case headTier:
		return m.walkFrom(textOrNothing(m.scope.Tier), path[1:])
	case headTeam:
		return m.walkFrom(textOrNothing(m.scope.Team), path[1:])
	case headFlagd:
		return m.walkFlagd(path[1:])
	}
	return m.walkFrom(m.scope.Attributes, path)
}

func (m *machine) walkFlagd(path []string) tiergate.Value {
	if len(path) == 0 {
		return m.scope.flagd()
	}
	switch path[0] {
	case "flagKey":
		return m.walkFrom(tiergate.StringOf(m.scope.FlagKey), path[1:])
	case "timestamp":
		return m.walkFrom(number(float64(m.scope.Unix)), path[1:])
	}
	return tiergate.Value{}
}

// member is the first step of a path.
func (m *machine) member(name string) tiergate.Value {
	switch m.frame.kind {
	case frameContext:
		path := [1]string{name}
		return m.walk(headOf(name), path[:])
	case frameItem:
		return m.property(m.frame.item, name)
	}
	switch name {
	case "accumulator":
		return m.frame.acc
	case "current":
		return m.frame.item
	}
	return tiergate.Value{}
}

func (m *machine) walkFrom(v tiergate.Value, path []string) tiergate.Value {
	for _, name := range path {
		if isNullish(v) {
			return tiergate.Value{}
		}
		v = m.property(v, name)
	}
	return v
}

// property is JavaScript's v[name] without what prototypes hold: members of objects,
// elements of arrays and characters of strings by index, and length.
func (m *machine) property(v tiergate.Value, name string) tiergate.Value {
	switch v.Kind() {
	case tiergate.ObjectValue:
		m.charge(v.Len())
		return v.Field(name)
	case tiergate.ArrayValue:
		if name == "length" {
			return number(float64(v.Len()))
		}
		if i, ok := index(name); ok {
			return v.Index(i)
		}
	case tiergate.StringValue:
		m.charge(len(v.Text()))
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

// characterAt returns one code unit of a string as characters does.
func characterAt(s string, i int) tiergate.Value {
	at := 0
	for pos, r := range s {
		if at == i && r < 0x10000 {
			return tiergate.StringOf(s[pos : pos+utf8.RuneLen(r)])
		}
		if at++; r >= 0x10000 {
			if at++; i < at {
				return tiergate.StringOf("\ufffd")
			}
		}
	}
	return tiergate.Value{}
}

// characters returns a string's code units, each half of a surrogate pair as U+FFFD.
func characters(s string) tiergate.Value {
	items := make([]tiergate.Value, 0, len(s))
	for pos, r := range s {
		if r >= 0x10000 {
			items = append(items, tiergate.StringOf("\ufffd"), tiergate.StringOf("\ufffd"))
			continue
		}
		items = append(items, tiergate.StringOf(s[pos:pos+utf8.RuneLen(r)]))
	}
	return tiergate.ArrayOf(items)
}
