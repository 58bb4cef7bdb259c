package tiergate

import (
	"strconv"
	"unsafe"
)

// ValueKind is the JSON type of a Value.
type ValueKind uint8

// The kinds of values. Undefined is the zero Value: nothing was there.
const (
	Undefined ValueKind = iota
	Null
	False
	True
	NumberValue
	StringValue
	ArrayValue
	ObjectValue
)

// A Value is one immutable JSON value: what evaluation contexts, user attributes and
// rule literals are made of. A number keeps its literal text beside its float64, so that
// 9007199254740993 and 9007199254740992 stay different where that matters. Copying a
// Value copies a few words. The zero Value is Undefined. A Value is safe for concurrent
// reads; whoever built it from pooled memory says how long it lives. Values are not to be
// compared with ==: equal strings may lie in two places.
//
// A Value has four words on purpose: the compiler keeps what is no larger in registers, and
// evaluating a rule is several times as fast as it is with five.
type Value struct {
	kind ValueKind
	num  float64
	ptr  unsafe.Pointer // the bytes of a string or of a number's literal text, or a *composite
	size int            // bytes of text; 0 for arrays and objects
}

func textValue(kind ValueKind, text string, num float64) Value {
	return Value{kind: kind, num: num, ptr: unsafe.Pointer(unsafe.StringData(text)), size: len(text)}
}

// composite is what an array or object holds; only those have one.
func (v Value) composite() *composite { return (*composite)(v.ptr) }

// Same reports whether two arrays or objects are one and the same, not merely equal.
func (v Value) Same(w Value) bool {
	return v.kind >= ArrayValue && v.kind == w.kind && v.ptr == w.ptr
}

type composite struct {
	keys  []string // objects: the key of each element; unique
	items []Value
}

// NullOf makes the value null.
func NullOf() Value { return Value{kind: Null} }

// BoolOf makes a boolean.
func BoolOf(b bool) Value {
	if b {
		return Value{kind: True}
	}
	return Value{kind: False}
}

// StringOf makes a string.
func StringOf(s string) Value { return textValue(StringValue, s, 0) }

// NumberOf makes a number whose literal text is the shortest that reads back as f; it
// allocates that text. NaN and infinities are allowed and have no JSON form.
func NumberOf(f float64) Value {
	return textValue(NumberValue, strconv.FormatFloat(f, 'g', -1, 64), f)
}

// LiteralOf makes a number from its literal text and the float64 it stands for.
func LiteralOf(text string, f float64) Value { return textValue(NumberValue, text, f) }

// ArrayOf makes an array that keeps items; the caller must not change them afterwards.
func ArrayOf(items []Value) Value { return new(Holder).Array(items) }

// ObjectOf makes an object that keeps keys and items, which have one length; keys are
// unique. The caller must not change them afterwards.
func ObjectOf(keys []string, items []Value) Value { return new(Holder).Object(keys, items) }

// A Holder is room for one array or object. A parser that uses its memory again makes
// values in Holders of its own; whoever fills a Holder anew ends the life of the value that
// was made in it. The zero Holder is ready.
type Holder struct{ held composite }

// Array is ArrayOf in this Holder.
func (h *Holder) Array(items []Value) Value {
	h.held = composite{items: items}
	return Value{kind: ArrayValue, ptr: unsafe.Pointer(&h.held)}
}

// Object is ObjectOf in this Holder.
func (h *Holder) Object(keys []string, items []Value) Value {
	if len(keys) != len(items) {
		panic("tiergate: bug: an object with " + strconv.Itoa(len(keys)) + " keys and " + strconv.Itoa(len(items)) + " items")
	}
	h.held = composite{keys: keys, items: items}
	return Value{kind: ObjectValue, ptr: unsafe.Pointer(&h.held)}
}

// Kind returns the value's JSON type.
func (v Value) Kind() ValueKind { return v.kind }

// IsDefined reports whether there is a value at all.
func (v Value) IsDefined() bool { return v.kind != Undefined }

// Text returns a string's text or a number's literal text, and "" for other kinds.
func (v Value) Text() string { return unsafe.String((*byte)(v.ptr), v.size) }

// Float returns a number's value, and 0 for other kinds.
func (v Value) Float() float64 { return v.num }

// Len returns the number of elements of an array or object, and 0 for other kinds.
func (v Value) Len() int {
	if v.kind < ArrayValue {
		return 0
	}
	return len(v.composite().items)
}

// Index returns element i of an array or object, Undefined when there is none.
func (v Value) Index(i int) Value {
	if i < 0 || i >= v.Len() {
		return Value{}
	}
	return v.composite().items[i]
}

// KeyAt returns the key of element i of an object, "" when there is none.
func (v Value) KeyAt(i int) string {
	if v.kind != ObjectValue || i < 0 || i >= v.Len() {
		return ""
	}
	return v.composite().keys[i]
}

// Field returns the member of an object, Undefined when v is no object or has none of
// that name. It compares keys one after the other: contexts are small and bounded.
func (v Value) Field(name string) Value {
	if v.kind != ObjectValue {
		return Value{}
	}
	o := v.composite()
	for i, k := range o.keys {
		if k == name {
			return o.items[i]
		}
	}
	return Value{}
}
