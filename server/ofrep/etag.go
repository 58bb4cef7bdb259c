package ofrep

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/tiergate/tiergate"
)

// An entity tag is 128 bits of SHA-256: between callers a collision would show one the
// answer of another.
const (
	tagBytes  = 16
	tagLength = 24 // with the quotes
)

func tagOf(content []byte) (tag [tagLength]byte) {
	sum := sha256.Sum256(content)
	tag[0], tag[tagLength-1] = '"', '"'
	base64.RawURLEncoding.Encode(tag[1:], sum[:tagBytes])
	return tag
}

// tagOfQuestion makes a tag of everything that the answer depends on, each part
// length-prefixed, so that no two questions look alike.
func (c *call) tagOfQuestion(version string, steps tiergate.ClockStep) [tagLength]byte {
	b := c.scratch[:0]
	b = appendText(append(b, "tiergate ofrep 1"...), version)
	b = appendText(b, c.resume.Epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(c.resume.Rev))
	b = appendText(b, c.resume.Hash)
	b = appendText(b, c.req.Set)
	b = append(b, flagByte(c.selected), flagByte(c.stale), flagByte(c.req.Key != nil))
	if key := c.req.Key; key != nil {
		b = appendText(appendText(b, key.ID), key.TeamID)
		b = binary.AppendUvarint(b, uint64(len(key.Scopes)))
		for _, scope := range key.Scopes {
			b = appendText(b, scope)
		}
	}
	b = append(b, byte(steps))
	switch now := c.req.Now.UTC(); steps {
	case tiergate.StepDay:
		b = binary.BigEndian.AppendUint64(b, uint64(floorDiv(now.Unix(), 24*60*60)))
	case tiergate.StepHour:
		b = binary.BigEndian.AppendUint64(b, uint64(floorDiv(now.Unix(), 60*60)))
	}
	c.scratch = appendCanonical(b, c.req.Attributes)
	return tagOf(c.scratch)
}

func floorDiv(a, b int64) int64 {
	if a < 0 {
		a -= b - 1
	}
	return a / b
}

func flagByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendCanonical appends a form of v that is equal for equal values only: the order of an
// object's keys does not count, the literal text of a number does.
func appendCanonical(b []byte, v tiergate.Value) []byte {
	b = append(b, byte(v.Kind()))
	switch v.Kind() {
	case tiergate.StringValue, tiergate.NumberValue:
		return appendText(b, v.Text())
	case tiergate.ArrayValue:
		b = binary.AppendUvarint(b, uint64(v.Len()))
		for i := range v.Len() {
			b = appendCanonical(b, v.Index(i))
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
		b = appendCanonical(appendText(b, v.KeyAt(int(i))), v.Index(int(i)))
	}
	return b
}

// matches reports whether If-None-Match, given as its header lines, names tag: "*" names
// all, and otherwise it is a list of entity tags, compared weakly (RFC 9110 §8.8.3.2). What
// is malformed matches nothing from there on.
func matches(lines [][]byte, tag []byte) bool {
	for _, line := range lines {
		if string(bytes.TrimSpace(line)) == "*" || listHolds(line, tag) {
			return true
		}
	}
	return false
}

func listHolds(list, tag []byte) bool {
	for {
		list = bytes.TrimLeft(list, " \t,")
		list = bytes.TrimPrefix(list, []byte("W/"))
		if len(list) == 0 || list[0] != '"' {
			return false
		}
		end := bytes.IndexByte(list[1:], '"')
		if end < 0 {
			return false
		}
		if bytes.Equal(list[:end+2], tag) {
			return true
		}
		list = bytes.TrimLeft(list[end+2:], " \t")
		if len(list) > 0 && list[0] != ',' {
			return false
		}
	}
}
