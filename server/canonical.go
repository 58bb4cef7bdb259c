package server

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/tiergate/tiergate"
)

// AppendText appends s behind its length, so that no two sequences of texts look alike.
func AppendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// AppendCanonical appends a form of v that is equal for equal values only: the order of an
// object's keys does not count, the literal text of a number does.
func AppendCanonical(b []byte, v tiergate.Value) []byte {
	b = append(b, byte(v.Kind()))
	switch v.Kind() {
	case tiergate.StringValue, tiergate.NumberValue:
		return AppendText(b, v.Text())
	case tiergate.ArrayValue:
		b = binary.AppendUvarint(b, uint64(v.Len()))
		for i := range v.Len() {
			b = AppendCanonical(b, v.Index(i))
		}
	case tiergate.ObjectValue:
		return appendObject(b, v)
	}
	return b
}

func appendObject(b []byte, v tiergate.Value) []byte {
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
		b = AppendCanonical(AppendText(b, v.KeyAt(int(i))), v.Index(int(i)))
	}
	return b
}
