// Package jsonvalue turns JSON text into tiergate.Values and back. It is the home of
// fastjson, which reads a request body some twenty times as fast as encoding/json; what
// fastjson lets through and RFC 8259 does not (NaN, loose numbers) is refused here.
package jsonvalue

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"github.com/valyala/fastjson"

	"github.com/tiergate/tiergate"
)

// Bounds of what is read, so that nobody can make us build a huge or deep tree.
const (
	MaxDepth    = 32
	MaxElements = 65536 // values in one document
)

// A Parser reads documents one after the other and reuses its memory. It is not safe for
// concurrent use. The zero Parser is ready.
type Parser struct {
	fast    fastjson.Parser
	items   []tiergate.Value
	keys    []string
	holders []tiergate.Holder
	digits  []byte
	left    int
	deep    int
	twice   bool
	err     error
}

// Parse reads one document. The Value and all its strings are valid until the next call.
// Of an object's equal keys the last counts, as in JavaScript.
func (p *Parser) Parse(data []byte) (tiergate.Value, error) { return p.ParseWithin(data, MaxDepth) }

// ParseWithin is Parse with another bound of the nesting, at most 256.
func (p *Parser) ParseWithin(data []byte, depth int) (tiergate.Value, error) {
	doc, err := p.fast.ParseBytes(data)
	if err != nil {
		return tiergate.Value{}, fmt.Errorf("not JSON: %.120s", err.Error())
	}
	p.items, p.keys, p.holders, p.digits = p.items[:0], p.keys[:0], p.holders[:0], p.digits[:0]
	p.left, p.deep, p.twice, p.err = MaxElements, min(depth, 256), false, nil
	v := p.convert(doc, 0)
	return v, p.err
}

// Repeated reports whether an object of the document that was parsed last has equal keys, for
// callers that will not guess which of them was meant.
func (p *Parser) Repeated() bool { return p.twice }

// Parse reads one document into memory of its own.
func Parse(data []byte) (tiergate.Value, error) {
	var p Parser
	return p.Parse(data)
}

func (p *Parser) fail(format string, args ...any) tiergate.Value {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
	return tiergate.Value{}
}

func (p *Parser) convert(doc *fastjson.Value, depth int) tiergate.Value {
	p.left--
	switch {
	case p.err != nil:
		return tiergate.Value{}
	case p.left < 0:
		return p.fail("not acceptable JSON: more than %d values", MaxElements)
	case depth > p.deep:
		return p.fail("not acceptable JSON: nested deeper than %d", p.deep)
	}
	switch doc.Type() {
	case fastjson.TypeTrue:
		return tiergate.BoolOf(true)
	case fastjson.TypeFalse:
		return tiergate.BoolOf(false)
	case fastjson.TypeString:
		return p.text(doc)
	case fastjson.TypeNumber:
		return p.number(doc)
	case fastjson.TypeArray:
		return p.array(doc, depth)
	case fastjson.TypeObject:
		return p.object(doc, depth)
	}
	return tiergate.NullOf()
}

func (p *Parser) text(doc *fastjson.Value) tiergate.Value {
	b := doc.GetStringBytes()
	if !utf8.Valid(b) {
		return p.fail("not JSON: a string is not UTF-8")
	}
	return tiergate.StringOf(unsafeString(b))
}

func (p *Parser) number(doc *fastjson.Value) tiergate.Value {
	start := len(p.digits)
	p.digits = doc.MarshalTo(p.digits) // a number's JSON form is its literal text
	literal := unsafeString(p.digits[start:])
	if !validNumber(literal) {
		return p.fail("not JSON: %.40q is not a number", literal)
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil && !math.IsInf(f, 0) { // 1e999 is Infinity, as JSON.parse has it
		return p.fail("not JSON: %.40q is not a number", literal)
	}
	return tiergate.LiteralOf(literal, f)
}

// array and object reserve their own run of p.items before they fill it, so that nested
// ones come behind; when the arena grows, earlier Values keep the old backing array.
func (p *Parser) array(doc *fastjson.Value, depth int) tiergate.Value {
	elements := doc.GetArray()
	run := p.room(len(elements))
	for i, e := range elements {
		run[i] = p.convert(e, depth+1)
	}
	return p.holder().Array(run)
}

func (p *Parser) object(doc *fastjson.Value, depth int) tiergate.Value {
	o, _ := doc.Object()
	n, at := o.Len(), 0
	run, keys := p.room(n), p.roomForKeys(n)
	seen := indexOfLarge(n)
	o.Visit(func(key []byte, e *fastjson.Value) {
		if !utf8.Valid(key) {
			p.fail("not JSON: a key is not UTF-8")
		}
		k := unsafeString(key)
		i, again := seen.find(keys[:at], k)
		p.twice = p.twice || again
		if !again {
			i, at = at, at+1
			keys[i] = k
		}
		run[i] = p.convert(e, depth+1)
	})
	return p.holder().Object(keys[:at], run[:at])
}

// room returns a run of n items that nobody uses; what is in it is to be overwritten.
func (p *Parser) room(n int) []tiergate.Value {
	start := len(p.items)
	p.items = slices.Grow(p.items, n)[:start+n]
	return p.items[start : start+n : start+n]
}

func (p *Parser) roomForKeys(n int) []string {
	start := len(p.keys)
	p.keys = slices.Grow(p.keys, n)[:start+n]
	return p.keys[start : start+n : start+n]
}

// holder returns a Holder that nobody uses. When there is none more is made elsewhere, so
// that the Values in those before stay as they are.
func (p *Parser) holder() *tiergate.Holder {
	n := len(p.holders)
	if n == cap(p.holders) {
		p.holders, n = make([]tiergate.Holder, 0, max(4, 2*n)), 0
	}
	p.holders = p.holders[:n+1]
	return &p.holders[n]
}

// A keyIndex finds a key among those seen: by looking at each in a small object, by a map
// in a large one, so that an object of many keys costs no quadratic time.
type keyIndex map[string]int

func indexOfLarge(n int) keyIndex {
	if n <= 16 {
		return nil
	}
	return make(keyIndex, n)
}

func (x keyIndex) find(keys []string, k string) (int, bool) {
	if x == nil {
		i := slices.Index(keys, k)
		return i, i >= 0
	}
	i, ok := x[k]
	if !ok {
		x[k] = len(keys)
	}
	return i, ok
}

// unsafeString views b as a string: the parser does not write to it before the next Parse.
func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// validNumber holds a literal against the grammar of RFC 8259 §6.
func validNumber(s string) bool {
	if s != "" && s[0] == '-' {
		s = s[1:]
	}
	digits := func() bool {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		s = s[n:]
		return n > 0
	}
	switch {
	case s != "" && s[0] == '0':
		s = s[1:]
	case !digits():
		return false
	}
	if s != "" && s[0] == '.' {
		s = s[1:]
		if !digits() {
			return false
		}
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if !digits() {
			return false
		}
	}
	return s == ""
}

// Of makes a Value of what encoding/json makes of JSON: nil, bool, string, the numbers,
// json.Number, []any, map[string]any (its keys sorted), json.RawMessage. Anything else
// goes through its JSON form.
func Of(x any) (tiergate.Value, error) {
	switch x := x.(type) {
	case nil:
		return tiergate.NullOf(), nil
	case bool:
		return tiergate.BoolOf(x), nil
	case string:
		return tiergate.StringOf(x), nil
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return tiergate.Value{}, fmt.Errorf("%v has no JSON form", x)
		}
		return tiergate.NumberOf(x), nil
	case int:
		return tiergate.LiteralOf(strconv.Itoa(x), float64(x)), nil
	case int64:
		return tiergate.LiteralOf(strconv.FormatInt(x, 10), float64(x)), nil
	case tiergate.Value:
		return x, nil
	}
	data, err := json.Marshal(x)
	if err != nil {
		return tiergate.Value{}, err
	}
	return Parse(data)
}

// Append appends the JSON form of v. Undefined and numbers without a JSON form become null.
func Append(dst []byte, v tiergate.Value) []byte {
	switch v.Kind() {
	case tiergate.True:
		return append(dst, "true"...)
	case tiergate.False:
		return append(dst, "false"...)
	case tiergate.NumberValue:
		if math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0) {
			return append(dst, "null"...)
		}
		return append(dst, v.Text()...)
	case tiergate.StringValue:
		return AppendString(dst, v.Text())
	case tiergate.ArrayValue:
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = Append(dst, v.Index(i))
		}
		return append(dst, ']')
	case tiergate.ObjectValue:
		dst = append(dst, '{')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(AppendString(dst, v.KeyAt(i)), ':')
			dst = Append(dst, v.Index(i))
		}
		return append(dst, '}')
	}
	return append(dst, "null"...)
}

// AppendNumber appends a finite number as JavaScript and encoding/json write it: its shortest
// digits, with an exponent only when it is very large or very small.
func AppendNumber(b []byte, f float64) []byte {
	if a := math.Abs(f); a == 0 || a >= 1e-6 && a < 1e21 {
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	b = strconv.AppendFloat(b, f, 'e', -1, 64)
	if n := len(b); n >= 4 && b[n-4] == 'e' && b[n-2] == '0' { // e-09 is written e-9
		b[n-2] = b[n-1]
		b = b[:n-1]
	}
	return b
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string; bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += n
			continue
		}
		if b >= ' ' && b != '"' && b != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}
