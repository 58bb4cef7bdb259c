package flagd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// maxNesting bounds the nesting of a document.
const maxNesting = 512

// A scanner reads a JSON document once, from the front, and hands out slices of it. It
// stops at the first byte that is not JSON: then err is set, and every method returns.
type scanner struct {
	data    []byte
	at      int
	nesting int
	err     error
}

// fail says what is wrong at the current place, by row and column.
func (s *scanner) fail(format string, args ...any) {
	if s.err != nil {
		return
	}
	before := s.data[:min(s.at, len(s.data))]
	row := 1 + bytes.Count(before, []byte{'\n'})
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	s.err = fmt.Errorf("not JSON at row %d, column %d: %s", row, column, fmt.Sprintf(format, args...))
}

// peek skips white space and returns the next byte, 0 at the end or after a failure.
func (s *scanner) peek() byte {
	for s.err == nil && s.at < len(s.data) {
		switch c := s.data[s.at]; c {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) unexpected(wanted string) {
	if s.at >= len(s.data) {
		s.fail("the document ends where %s should be", wanted)
		return
	}
	r, _ := utf8.DecodeRune(s.data[s.at:])
	s.fail("%q is where %s should be", r, wanted)
}

// object reads an object: member is called with each key as written between its quotes,
// and must read the value.
func (s *scanner) object(member func(key []byte)) {
	if !s.open('{', "an object") {
		return
	}
	for first := true; s.more('}', first); first = false {
		if s.peek() != '"' {
			s.unexpected("a key")
			return
		}
		key := s.text()
		if s.peek() != ':' {
			s.unexpected("a colon")
			return
		}
		s.at++
		member(key)
	}
	s.nesting--
}

// array reads an array: element must read each value.
func (s *scanner) array(element func()) {
	if !s.open('[', "an array") {
		return
	}
	for first := true; s.more(']', first); first = false {
		element()
	}
	s.nesting--
}

func (s *scanner) open(c byte, what string) bool {
	if s.peek() != c {
		s.unexpected(what)
		return false
	}
	if s.nesting++; s.nesting > maxNesting {
		s.fail("nested deeper than %d", maxNesting)
		return false
	}
	s.at++
	return true
}

// more reads the comma before the next element, or the end.
func (s *scanner) more(end byte, first bool) bool {
	c := s.peek()
	switch {
	case s.err != nil:
		return false
	case c == end:
		s.at++
		return false
	case first:
		return true
	case c != ',':
		s.unexpected("a comma or the end")
		return false
	}
	s.at++
	return true
}

// value reads one value of any kind and returns it as written.
func (s *scanner) value() json.RawMessage {
	c := s.peek()
	start := s.at
	switch {
	case c == '{':
		s.object(func([]byte) { s.skip() })
	case c == '[':
		s.array(s.skip)
	default:
		s.scalar(c)
	}
	if s.err != nil {
		return nil
	}
	return s.data[start:s.at:s.at]
}

func (s *scanner) skip() { s.value() }

func (s *scanner) scalar(c byte) {
	switch {
	case c == '"':
		s.text()
	case c == 't':
		s.word("true")
	case c == 'f':
		s.word("false")
	case c == 'n':
		s.word("null")
	case c == '-' || c >= '0' && c <= '9':
		s.number()
	default:
		s.unexpected("a value")
	}
}

func (s *scanner) word(w string) {
	if !bytes.HasPrefix(s.data[s.at:], []byte(w)) {
		s.unexpected("a value")
		return
	}
	s.at += len(w)
}

func (s *scanner) digits() {
	start := s.at
	for s.at < len(s.data) && s.data[s.at] >= '0' && s.data[s.at] <= '9' {
		s.at++
	}
	if s.at == start {
		s.unexpected("a digit")
	}
}

func (s *scanner) next(any string) bool {
	if s.at < len(s.data) && bytes.IndexByte([]byte(any), s.data[s.at]) >= 0 {
		s.at++
		return true
	}
	return false
}

func (s *scanner) number() {
	s.next("-")
	if !s.next("0") {
		s.digits()
	}
	if s.next(".") {
		s.digits()
	}
	if s.next("eE") {
		s.next("+-")
		s.digits()
	}
}

// text reads a string and returns what stands between the quotes, escapes and all.
func (s *scanner) text() []byte {
	s.at++
	start, ascii := s.at, true
	for s.at < len(s.data) {
		switch c := s.data[s.at]; {
		case c == '"':
			raw := s.data[start:s.at]
			if !ascii && !utf8.Valid(raw) {
				s.fail("a string is not UTF-8")
			}
			s.at++
			return raw
		case c == '\\':
			s.escape()
		case c < ' ':
			s.unexpected("more of a string")
			return nil
		case c >= utf8.RuneSelf:
			ascii = false
		}
		if s.err != nil {
			return nil
		}
		s.at++
	}
	s.unexpected("the end of a string")
	return nil
}

// escape reads an escape but for its last byte.
func (s *scanner) escape() {
	s.at++
	if s.at < len(s.data) && s.data[s.at] == 'u' {
		for range 4 {
			s.at++
			if s.at >= len(s.data) || bytes.IndexByte([]byte("0123456789abcdefABCDEF"), s.data[s.at]) < 0 {
				s.unexpected("a hexadecimal digit")
				return
			}
		}
		return
	}
	if s.at >= len(s.data) || bytes.IndexByte([]byte(`"\/bfnrt`), s.data[s.at]) < 0 {
		s.unexpected("an escape")
	}
}

// decoded turns what stands between quotes into the string it means.
func decoded(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw)
	}
	var out string
	quoted := append(append([]byte{'"'}, raw...), '"')
	if json.Unmarshal(quoted, &out) != nil {
		return string(raw)
	}
	return out
}
