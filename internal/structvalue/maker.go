package structvalue

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"unsafe"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// A Maker makes Values of messages, within the bounds of jsonvalue, and reuses its memory. It
// also lends that memory to callers that put Values together themselves. It is not safe for
// concurrent use. The zero Maker is ready.
type Maker struct {
	items   []tiergate.Value
	keys    []string
	holders []tiergate.Holder
	digits  []byte
	made    int // of the object that is being made
	err     error
}

// Reset ends the life of all that was made.
func (m *Maker) Reset() {
	clear(m.items)
	clear(m.keys)
	clear(m.holders)
	m.items, m.keys, m.holders, m.digits = m.items[:0], m.keys[:0], m.holders[:0], m.digits[:0]
}

// Bytes is about how much memory the Maker keeps for its next use.
func (m *Maker) Bytes() int {
	const value, key, holder = 32, 16, 48
	return value*cap(m.items) + key*cap(m.keys) + holder*cap(m.holders) + cap(m.digits)
}

// Struct makes an object, with its members in the order of their names; nil makes Undefined.
// The Value is valid until Reset, and its strings are the message's. Errors are one clause
// about it: too many values, too deep, or a number that JSON does not have.
func (m *Maker) Struct(s *structpb.Struct) (tiergate.Value, error) {
	if s == nil {
		return tiergate.Value{}, nil
	}
	m.err, m.made = nil, 0
	m.take(1)
	v := m.members(s.GetFields(), 1) // as a member of a request, whose own members are the first level
	return v, m.err
}

// Object makes an object of members that the caller knows; of no two are the names equal.
// They are copied.
func (m *Maker) Object(keys []string, values []tiergate.Value) tiergate.Value {
	run, names := m.room(len(values)), m.roomForKeys(len(keys))
	copy(run, values)
	copy(names, keys)
	return m.holder().Object(names, run)
}

// Array makes an array of copies of values.
func (m *Maker) Array(values []tiergate.Value) tiergate.Value {
	run := m.room(len(values))
	copy(run, values)
	return m.holder().Array(run)
}

// Int makes a whole number, exactly.
func (m *Maker) Int(n int64) tiergate.Value {
	start := len(m.digits)
	m.digits = strconv.AppendInt(m.digits, n, 10)
	return tiergate.LiteralOf(view(m.digits[start:]), float64(n))
}

func (m *Maker) fail(format string, args ...any) tiergate.Value {
	if m.err == nil {
		m.err = fmt.Errorf(format, args...)
	}
	return tiergate.Value{}
}

func (m *Maker) value(v *structpb.Value, depth int) tiergate.Value {
	if depth > jsonvalue.MaxDepth {
		return m.fail("is nested deeper than %d", jsonvalue.MaxDepth)
	}
	switch k := v.GetKind().(type) {
	case *structpb.Value_BoolValue:
		return tiergate.BoolOf(k.BoolValue)
	case *structpb.Value_StringValue:
		return tiergate.StringOf(k.StringValue)
	case *structpb.Value_NumberValue:
		return m.number(k.NumberValue)
	case *structpb.Value_StructValue:
		return m.members(k.StructValue.GetFields(), depth)
	case *structpb.Value_ListValue:
		return m.list(k.ListValue.GetValues(), depth)
	}
	return tiergate.NullOf() // also a Value that says nothing, as in Go's own view of it
}

// take counts n values and says whether they may be made, before there is room for them.
func (m *Maker) take(n int) bool {
	if m.err == nil && n > jsonvalue.MaxElements-m.made {
		m.fail("has more than %d values", jsonvalue.MaxElements)
	}
	if m.err == nil {
		m.made += n
	}
	return m.err == nil
}

// members and list reserve their own run of m.items before they fill it, so that nested ones
// come behind; when the arena grows, earlier Values keep the old backing array.
func (m *Maker) members(fields map[string]*structpb.Value, depth int) tiergate.Value {
	if !m.take(len(fields)) {
		return tiergate.Value{}
	}
	keys := m.roomForKeys(len(fields))[:0]
	for k := range fields {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	run := m.room(len(keys))
	for i, k := range keys {
		run[i] = m.value(fields[k], depth+1)
	}
	return m.holder().Object(keys, run)
}

func (m *Maker) list(values []*structpb.Value, depth int) tiergate.Value {
	if !m.take(len(values)) {
		return tiergate.Value{}
	}
	run := m.room(len(values))
	for i, v := range values {
		run[i] = m.value(v, depth+1)
	}
	return m.holder().Array(run)
}

func (m *Maker) number(f float64) tiergate.Value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return m.fail("has the number %v, which JSON does not have", f)
	}
	start := len(m.digits)
	m.digits = jsonvalue.AppendNumber(m.digits, f)
	return tiergate.LiteralOf(view(m.digits[start:]), f)
}

func (m *Maker) room(n int) []tiergate.Value {
	start := len(m.items)
	m.items = slices.Grow(m.items, n)[:start+n]
	return m.items[start : start+n : start+n]
}

func (m *Maker) roomForKeys(n int) []string {
	start := len(m.keys)
	m.keys = slices.Grow(m.keys, n)[:start+n]
	return m.keys[start : start+n : start+n]
}

// holder returns a Holder that nobody uses. When there is none more is made elsewhere, so
// that the Values in those before stay as they are.
func (m *Maker) holder() *tiergate.Holder {
	n := len(m.holders)
	if n == cap(m.holders) {
		m.holders, n = make([]tiergate.Holder, 0, max(4, 2*n)), 0
	}
	m.holders = m.holders[:n+1]
	return &m.holders[n]
}

// view views b as a string: the Maker does not write to it before Reset.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
