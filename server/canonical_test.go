package server_test

import (
	"encoding/json"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/server"
)

func same(t interface{ Fatal(...any) }, text string) string {
	v, err := jsonvalue.Parse([]byte(text))
	if err != nil {
		t.Fatal(text, err)
	}
	return string(server.AppendSame(nil, v))
}

func canonical(t interface{ Fatal(...any) }, text string) string {
	v, err := jsonvalue.Parse([]byte(text))
	if err != nil {
		t.Fatal(text, err)
	}
	return string(server.AppendCanonical(nil, v))
}

// A number is the same however it is written, and another one never is.
func TestAppendSame_knows_numbers_by_their_value(t *testing.T) {
	for _, group := range [][]string{
		{"0", "-0", "0.0", "0e5", "-0.000e-9"},
		{"10", "10.0", "1e1", "1E+1", "0.1e2", "100e-1"},
		{"-1.5", "-15e-1", "-1.50"},
		{"1e21", "1e+21", "1000000000000000000000"},
		{"1e-7", "0.0000001", "1.0e-07"},
		{"9007199254740992", "9007199254740992.0"},
		{"9007199254740993"},
		{"1e99999999999999999999"},
		{"1e-99999999999999999999"},
		{"-1"},
		{"0.1"},
	} {
		for _, text := range group {
			if same(t, text) != same(t, group[0]) {
				t.Errorf("%s and %s are two numbers", text, group[0])
			}
		}
		for _, other := range []string{"2", "0.10000000000000001", "9007199254740994", "15", "1e22"} {
			if same(t, other) == same(t, group[0]) {
				t.Errorf("%s and %s are one number", other, group[0])
			}
		}
	}
	if same(t, `{"b":[1.0,"1"],"a":{}}`) != same(t, `{"a":{},"b":[1,"1"]}`) || same(t, `["1"]`) == same(t, `[1]`) {
		t.Error("objects and arrays are not compared by their members")
	}
}

// As encoding/json writes a number is the form that all others get, so that most questions have
// the form that they always had.
func TestAppendSame_keeps_the_usual_form(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64).Draw(t, "f")
		if f == 0 {
			f = 0 // without the sign
		}
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if same(t, string(text)) != canonical(t, string(text)) {
			t.Errorf("%s is written otherwise", text)
		}
	})
}
