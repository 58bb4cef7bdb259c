package decision

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// checkEscapes refuses escapes in the strings of a JSON text that stand for no character, such
// as half of a surrogate pair: the parser takes them for the characters that they are written
// with, which would be another user's id.
func checkEscapes(text []byte) error {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return nil
		}
		n := escape(text[i:])
		if n == 0 {
			return tiergate.Errorf(tiergate.Invalid, "the body is not JSON: the escape %.12q in a string is no character", text[i:])
		}
		text = text[i+n:]
	}
}

// escape returns the length of the escape that s begins with, 0 when it stands for no character.
func escape(s []byte) int {
	if len(s) > 1 && bytes.IndexByte([]byte(`"\/bfnrt`), s[1]) >= 0 {
		return 2
	}
	r, ok := utf16Escape(s)
	switch {
	case !ok:
		return 0
	case !utf16.IsSurrogate(r):
		return 6
	}
	if low, ok := utf16Escape(s[6:]); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
		return 12
	}
	return 0
}

// utf16Escape reads \uXXXX.
func utf16Escape(s []byte) (unit rune, ok bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(server.View(s[2:6]), 16, 16)
	return rune(n), err == nil
}
