package server_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/server"
)

// The fast way to write a string writes what the plain way does, for each byte at each place.
func TestAppendString_is_as_jsonvalue(t *testing.T) {
	check := func(s string) bool {
		return string(server.AppendString(nil, s)) == string(jsonvalue.AppendString(nil, s))
	}
	for c := range 256 {
		for at := range 17 {
			text := []byte("abcdefgh~ 234567!")
			text[at] = byte(c)
			if !check(string(text)) {
				t.Errorf("%q is written as %s", text, server.AppendString(nil, string(text)))
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		if s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s")); !check(s) {
			t.Errorf("%q is written as %s", s, server.AppendString(nil, s))
		}
	})
}
