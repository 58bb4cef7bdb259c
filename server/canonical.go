package server

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/tiergate/tiergate"
)

// AppendText appends s behind its length, so that no two sequences of texts look alike.
func AppendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// AppendCanonical appends a form of v that is equal for equal values only: the order of an
// object's keys does not count, the literal text of a number does.
func AppendCanonical(b []byte, v tiergate.Value) []byte { return appendForm(b, v, false) }

// AppendSame is AppendCanonical with the same form for the same number, however it is written:
// 10, 10.0 and 1e1. Callers' libraries differ in that, and a protobuf message has no text of a
// number at all.
func AppendSame(b []byte, v tiergate.Value) []byte { return appendForm(b, v, true) }

func appendForm(b []byte, v tiergate.Value, byValue bool) []byte {
	b = append(b, byte(v.Kind()))
	switch v.Kind() {
	case tiergate.StringValue:
		return AppendText(b, v.Text())
	case tiergate.NumberValue:
		if byValue {
			return appendDecimal(b, v.Text())
		}
		return AppendText(b, v.Text())
	case tiergate.ArrayValue:
		b = binary.AppendUvarint(b, uint64(v.Len()))
		for i := range v.Len() {
			b = appendForm(b, v.Index(i), byValue)
		}
	case tiergate.ObjectValue:
		return appendObject(b, v, byValue)
	}
	return b
}

func appendObject(b []byte, v tiergate.Value, byValue bool) []byte {
	var few [16]int32 // most objects need no allocation
	order := few[:0]
	for i := range v.Len() {
		order = append(order, int32(i))
	}
	if len(order) <= len(few) {
		for i := range order {
			for j := i; j > 0 && v.KeyAt(int(order[j])) < v.KeyAt(int(order[j-1])); j-- {
				order[j], order[j-1] = order[j-1], order[j]
			}
		}
	} else {
		slices.SortFunc(order, func(x, y int32) int { return strings.Compare(v.KeyAt(int(x)), v.KeyAt(int(y))) })
	}
	b = binary.AppendUvarint(b, uint64(len(order)))
	for _, i := range order {
		b = appendForm(AppendText(b, v.KeyAt(int(i))), v.Index(int(i)), byValue)
	}
	return b
}

// appendDecimal appends a number's literal text, rewritten as JavaScript and encoding/json write
// the same number. It counts in decimals, so that no two different ones become the same.
func appendDecimal(b []byte, literal string) []byte {
	unsigned := strings.TrimPrefix(literal, "-")
	mantissa, exponent := unsigned, 0
	if i := strings.IndexAny(unsigned, "eE"); i >= 0 {
		var err error
		if exponent, err = strconv.Atoi(unsigned[i+1:]); err != nil || exponent != int(int32(exponent)) {
			return AppendText(b, literal) // a number that nobody means
		}
		mantissa = unsigned[:i]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	var few [48]byte // the digits of most numbers
	digits := append(append(few[:0], whole...), fraction...)
	point := len(whole) + exponent // the number is 0.digits · 10^point
	for len(digits) > 0 && digits[0] == '0' {
		digits, point = digits[1:], point-1
	}
	for len(digits) > 0 && digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
	}
	if len(digits) == 0 {
		return AppendText(b, "0")
	}
	var short [64]byte
	text := short[:0]
	if len(unsigned) < len(literal) {
		text = append(text, '-')
	}
	return AppendText(b, View(appendPlain(text, digits, point)))
}

// appendPlain writes 0.digits · 10^point, with an exponent when it is very large or very small.
func appendPlain(b, digits []byte, point int) []byte {
	switch {
	case point > 21 || point <= -6:
		b = append(b, digits[0])
		if len(digits) > 1 {
			b = append(append(b, '.'), digits[1:]...)
		}
		b = append(b, 'e')
		if point > 0 {
			b = append(b, '+')
		}
		return strconv.AppendInt(b, int64(point)-1, 10)
	case point <= 0:
		return append(appendZeros(append(b, "0."...), -point), digits...)
	case point >= len(digits):
		return appendZeros(append(b, digits...), point-len(digits))
	}
	return append(append(append(b, digits[:point]...), '.'), digits[point:]...)
}

func appendZeros(b []byte, n int) []byte {
	for range n {
		b = append(b, '0')
	}
	return b
}
