package targeting

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tiergate/tiergate"
)

// This file holds JavaScript's conversions and comparisons (ECMA-262 §7) for the values
// that JSON can make, and undefined.

func isComposite(v tiergate.Value) bool { return v.Kind() >= tiergate.ArrayValue }

func isString(v tiergate.Value) bool { return v.Kind() == tiergate.StringValue }

func isArray(v tiergate.Value) bool { return v.Kind() == tiergate.ArrayValue }

func isNullish(v tiergate.Value) bool { return v.Kind() <= tiergate.Null }

// number makes a number without the literal text, which would have to be allocated.
func number(f float64) tiergate.Value { return tiergate.LiteralOf("", f) }

// falsy is JavaScript's: undefined, null, false, 0, NaN and the empty string.
func falsy(v tiergate.Value) bool {
	switch v.Kind() {
	case tiergate.NumberValue:
		return v.Float() == 0 || math.IsNaN(v.Float())
	case tiergate.StringValue:
		return v.Text() == ""
	}
	return v.Kind() <= tiergate.False
}

// truthy is JsonLogic's: empty arrays and objects are false besides.
func truthy(v tiergate.Value) bool {
	if isComposite(v) {
		return v.Len() > 0
	}
	return !falsy(v)
}

// toNumber is JavaScript's unary plus.
func toNumber(v tiergate.Value) float64 {
	switch v.Kind() {
	case tiergate.NumberValue:
		return v.Float()
	case tiergate.Null, tiergate.False:
		return 0
	case tiergate.True:
		return 1
	case tiergate.StringValue:
		return stringToNumber(v.Text())
	case tiergate.ArrayValue:
		return stringToNumber(toString(v))
	}
	return math.NaN()
}

// stringToNumber reads a whole string as a number literal, "" as 0, else NaN.
func stringToNumber(s string) float64 {
	s = trimSpace(s)
	if s == "" {
		return 0
	}
	if len(s) > 2 && s[0] == '0' {
		switch s[1] {
		case 'x', 'X':
			return digitsToNumber(s[2:], 16)
		case 'o', 'O':
			return digitsToNumber(s[2:], 8)
		case 'b', 'B':
			return digitsToNumber(s[2:], 2)
		}
	}
	switch s {
	case "Infinity", "+Infinity":
		return math.Inf(1)
	case "-Infinity":
		return math.Inf(-1)
	}
	if !decimalLiteral(s) {
		return math.NaN()
	}
	f, _ := strconv.ParseFloat(s, 64) // out of range is an infinity, as in JavaScript
	return f
}

func digitsToNumber(digits string, base int) float64 {
	if strings.ContainsAny(digits, "_+-") {
		return math.NaN()
	}
	n, ok := new(big.Int).SetString(digits, base)
	if !ok {
		return math.NaN()
	}
	f, _ := new(big.Float).SetInt(n).Float64()
	return f
}

// decimalLiteral holds s against [+-] (digits [. digits] | . digits) [e [+-] digits].
func decimalLiteral(s string) bool {
	if s[0] == '+' || s[0] == '-' {
		s = s[1:]
	}
	digits := func() (n int) {
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		s = s[n:]
		return n
	}
	n := digits()
	if s != "" && s[0] == '.' {
		s = s[1:]
		n += digits()
	}
	if n == 0 {
		return false
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if digits() == 0 {
			return false
		}
	}
	return s == ""
}

// trimSpace trims what ECMA-262 calls white space and line terminators.
func trimSpace(s string) string { return strings.TrimFunc(s, isSpace) }

func isSpace(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', ' ', 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF:
		return true
	}
	return r >= 0x2000 && r <= 0x200A
}

// toString is JavaScript's String(v). It allocates for most numbers and all composites.
func toString(v tiergate.Value) string {
	switch v.Kind() {
	case tiergate.StringValue:
		return v.Text()
	case tiergate.Undefined:
		return "undefined"
	case tiergate.Null:
		return "null"
	case tiergate.False:
		return "false"
	case tiergate.True:
		return "true"
	case tiergate.ObjectValue:
		return "[object Object]"
	case tiergate.NumberValue:
		if f := v.Float(); f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return strconv.FormatInt(int64(f), 10)
		}
	}
	return string(appendString(nil, v))
}

// appendString appends JavaScript's String(v).
func appendString(dst []byte, v tiergate.Value) []byte {
	switch v.Kind() {
	case tiergate.NumberValue:
		return appendNumber(dst, v.Float())
	case tiergate.ArrayValue:
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if item := v.Index(i); !isNullish(item) {
				dst = appendString(dst, item)
			}
		}
		return dst
	}
	return append(dst, toString(v)...)
}

// appendNumber appends a number as JavaScript prints it.
func appendNumber(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	case f == math.Trunc(f) && math.Abs(f) < 1<<53:
		return strconv.AppendInt(dst, int64(f), 10)
	}
	if abs := math.Abs(f); abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// Go writes at least two digits of the exponent, JavaScript no leading zero.
	if n := len(dst); n-start >= 4 && dst[n-2] == '0' && (dst[n-3] == '-' || dst[n-3] == '+') {
		dst = append(dst[:n-2], dst[n-1])
	}
	return dst
}

// looseEqual is ==.
func looseEqual(a, b tiergate.Value) bool {
	a, b = boolToNumber(a), boolToNumber(b)
	switch {
	case isNullish(a) || isNullish(b):
		return isNullish(a) && isNullish(b)
	case isComposite(a) && isComposite(b):
		return a.Same(b)
	}
	a, b = toPrimitive(a), toPrimitive(b)
	if isString(a) && isString(b) {
		return a.Text() == b.Text()
	}
	return toNumber(a) == toNumber(b)
}

func boolToNumber(v tiergate.Value) tiergate.Value {
	if k := v.Kind(); k == tiergate.True || k == tiergate.False {
		return number(toNumber(v))
	}
	return v
}

func toPrimitive(v tiergate.Value) tiergate.Value {
	if isComposite(v) {
		return tiergate.StringOf(toString(v))
	}
	return v
}

// strictEqual is ===. Arrays and objects are equal only to themselves.
func strictEqual(a, b tiergate.Value) bool {
	if a.Kind() != b.Kind() {
		return false
	}
	switch a.Kind() {
	case tiergate.NumberValue:
		return a.Float() == b.Float()
	case tiergate.StringValue:
		return a.Text() == b.Text()
	}
	return !isComposite(a) || a.Same(b)
}

// sameValueZero is the equality of Array.prototype.includes: === but NaN is NaN.
func sameValueZero(a, b tiergate.Value) bool {
	if a.Kind() == tiergate.NumberValue && b.Kind() == tiergate.NumberValue && math.IsNaN(a.Float()) {
		return math.IsNaN(b.Float())
	}
	return strictEqual(a, b)
}

// order compares for < and its kin: -1, 0 or 1, and false when a side is not a number.
func order(a, b tiergate.Value) (int, bool) {
	a, b = toPrimitive(a), toPrimitive(b)
	if isString(a) && isString(b) {
		return compareUTF16(a.Text(), b.Text()), true
	}
	x, y := toNumber(a), toNumber(b)
	switch {
	case x < y:
		return -1, true
	case x > y:
		return 1, true
	}
	return 0, x == y
}

// compareUTF16 orders by UTF-16 code units, as JavaScript does. It is the order of UTF-8
// bytes, except that surrogates, which begin at U+D800, sort before U+E000 to U+FFFF.
func compareUTF16(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		switch {
		case x >= 0xF0 && (y == 0xEE || y == 0xEF):
			return -1
		case y >= 0xF0 && (x == 0xEE || x == 0xEF):
			return 1
		case x < y:
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}

// lengthUTF16 is a string's length property.
func lengthUTF16(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r >= 0x10000 {
			n++
		}
	}
	return n
}

// sliceUTF16 returns the code units from to (excluded). Half of a surrogate pair, which
// UTF-8 cannot hold, becomes U+FFFD.
func sliceUTF16(s string, from, to int) string {
	if from >= to {
		return ""
	}
	var out []byte
	at := 0
	for _, r := range s {
		width := 1
		if r >= 0x10000 {
			width = 2
		}
		switch lo, hi := max(at, from), min(at+width, to); {
		case hi-lo == width:
			out = utf8.AppendRune(out, r)
		case hi-lo == 1:
			out = utf8.AppendRune(out, utf8.RuneError)
		}
		at += width
	}
	return string(out)
}
