package postgres

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// This file walks JSON that Postgres made, which is why it checks no more than it needs
// to stay inside the text: reading 100,000 flags with encoding/json takes a second.

var errJSON = errors.New("the image is not the JSON that is expected")

// eachMember calls f with the name and the raw value of each member of an object, in
// order. Both are parts of data.
func eachMember(data []byte, f func(name, value []byte) error) error {
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '{' {
		return errJSON
	}
	i = skipSpace(data, i+1)
	if i < len(data) && data[i] == '}' {
		return nil
	}
	for {
		nameEnd := valueEnd(data, i)
		if nameEnd < 0 || data[i] != '"' {
			return errJSON
		}
		at := skipSpace(data, nameEnd)
		if at >= len(data) || data[at] != ':' {
			return errJSON
		}
		at = skipSpace(data, at+1)
		end := valueEnd(data, at)
		if end < 0 {
			return errJSON
		}
		if err := f(data[i+1:nameEnd-1], data[at:end]); err != nil {
			return err
		}
		var more bool
		if i, more = nextElement(data, end, '}'); i < 0 || !more {
			return ended(i)
		}
	}
}

// eachItem calls f with the raw value of each item of an array.
func eachItem(data []byte, f func(value []byte) error) error {
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '[' {
		return errJSON
	}
	i = skipSpace(data, i+1)
	if i < len(data) && data[i] == ']' {
		return nil
	}
	for {
		end := valueEnd(data, i)
		if end < 0 {
			return errJSON
		}
		if err := f(data[i:end]); err != nil {
			return err
		}
		var more bool
		if i, more = nextElement(data, end, ']'); i < 0 || !more {
			return ended(i)
		}
	}
}

func ended(i int) error {
	if i < 0 {
		return errJSON
	}
	return nil
}

// nextElement goes from the end of an element to the start of the next, if there is more.
func nextElement(data []byte, i int, closing byte) (next int, more bool) {
	i = skipSpace(data, i)
	switch {
	case i >= len(data):
		return -1, false
	case data[i] == closing:
		return i, false
	case data[i] != ',':
		return -1, false
	}
	return skipSpace(data, i+1), true
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// valueEnd returns the index after the value that begins at i, -1 when there is none.
func valueEnd(data []byte, i int) int {
	if i >= len(data) {
		return -1
	}
	switch data[i] {
	case '"':
		return stringEnd(data, i)
	case '{', '[':
		return compositeEnd(data, i)
	}
	start := i
	for i < len(data) && isScalarByte(data[i]) {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

// isScalarByte reports whether a number, true, false or null goes on with b.
func isScalarByte(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b == '.' || b == '-' || b == '+' || b == 'E'
}

func stringEnd(data []byte, i int) int {
	for i++; i < len(data); i++ {
		switch data[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return -1
}

func compositeEnd(data []byte, i int) int {
	depth := 0
	for i < len(data) {
		switch data[i] {
		case '"':
			if i = stringEnd(data, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}

func isNull(value []byte) bool { return string(value) == "null" }

// textOf returns the content of a JSON string without copying it when it has no escapes.
func textOf(value []byte) ([]byte, error) {
	if len(value) < 2 || value[0] != '"' {
		return nil, errJSON
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1], nil
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", errJSON, err)
	}
	return []byte(s), nil
}

// intOf reads a whole number, however it is written: 5, 5.0 or 5e0.
func intOf(value []byte) (int64, error) {
	if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(string(value), 64)
	if err != nil || f != float64(int64(f)) {
		return 0, fmt.Errorf("%.40q is not a whole number: %w", value, errJSON)
	}
	return int64(f), nil
}
