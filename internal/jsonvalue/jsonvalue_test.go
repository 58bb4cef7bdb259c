package jsonvalue_test

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// What is read and written again means the same to encoding/json.
func TestParse_round_trip(t *testing.T) {
	for _, doc := range []string{
		`null`, `true`, `"a\u00e9\ud83d\ude00\n\"\\"`, `-0.5e+10`, `9007199254740993`, `[]`, `{}`,
		`{"a":[1,{"b":"c"},null],"d":{"e":false}}`, ` { "x" : [ 1 , 2 ] } `,
		"{" + strings.Repeat(`"k":1,`, 40) + `"z":2}`,
	} {
		v, err := jsonvalue.Parse([]byte(doc))
		if err != nil {
			t.Errorf("Parse(%s): %v", doc, err)
			continue
		}
		var got, want any
		if err := json.Unmarshal(jsonvalue.Append(nil, v), &got); err != nil {
			t.Errorf("Append(Parse(%s)) is not JSON: %v", doc, err)
		}
		if err := json.Unmarshal([]byte(doc), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("Parse(%s) reads back as %v", doc, got)
		}
	}
}

// The literal text of a number survives, so that big numbers stay different.
func TestParse_keeps_literals(t *testing.T) {
	v, err := jsonvalue.Parse([]byte(`[9007199254740993,1.0,1e3]`))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"9007199254740993", "1.0", "1e3"} {
		if got := v.Index(i).Text(); got != want {
			t.Errorf("literal %d is %q, want %q", i, got, want)
		}
	}
}

// Of an object's equal keys the last counts.
func TestParse_last_key_counts(t *testing.T) {
	v, err := jsonvalue.Parse([]byte(`{"a":1,"b":2,"a":3}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(jsonvalue.Append(nil, v)); got != `{"a":3,"b":2}` {
		t.Errorf("got %s", got)
	}
}

// Equal keys are told of, at any depth and in objects of any size, and not those of the document before.
func TestParser_Repeated(t *testing.T) {
	var p jsonvalue.Parser
	many := ""
	for i := range 40 {
		many += fmt.Sprintf(`"k%d":1,`, i)
	}
	for text, want := range map[string]bool{
		`{"a":1,"a":2}`: true, `{"a":{"b":[{"c":1,"c":1}]}}`: true, `{"a":1,"\u0061":2}`: true,
		"{" + many + `"k7":2}`: true,
		`{"a":{"a":{"a":1}}}`:  false, `[{"a":1},{"a":1}]`: false, `{"a":1,"A":2}`: false, "{" + many + `"z":2}`: false,
	} {
		for range 2 {
			if _, err := p.Parse([]byte(text)); err != nil || p.Repeated() != want {
				t.Errorf("%.80s: repeated is %v, %v", text, p.Repeated(), err)
			}
		}
		if _, err := p.Parse([]byte(`{"a":1}`)); err != nil || p.Repeated() {
			t.Errorf("after %.80s: repeated is %v, %v", text, p.Repeated(), err)
		}
	}
}

// What is not JSON, or is too much of it, is refused.
func TestParse_refuses(t *testing.T) {
	for _, doc := range []string{
		``, `{`, `NaN`, `[nan]`, `-inf`, `01`, `1.`, `.5`, `+1`, `1e`, `--1`, `[1,]`, `{"a":1,}`, `"\xff`, "\"\xff\"",
		`{"a":1} x`, strings.Repeat("[", 40) + strings.Repeat("]", 40), "[" + strings.Repeat("1,", 70000) + "1]",
	} {
		if v, err := jsonvalue.Parse([]byte(doc)); err == nil {
			t.Errorf("Parse(%.40q) = %v, want an error", doc, v)
		}
	}
}

// A parser that is used again allocates nothing.
func TestParser_allocations(t *testing.T) {
	var p jsonvalue.Parser
	doc := []byte(`{"context":{"targetingKey":"alice","age":33,"plan":"pro"}}`)
	n := testing.AllocsPerRun(100, func() {
		if _, err := p.Parse(doc); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("Parse allocates %v times", n)
	}
}

// No bytes make the parser panic, and what it accepts encoding/json accepts.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"context":{"targetingKey":"u","n":[1,2.5e3,{"a":null}]}}`, `"\ud800"`, `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := jsonvalue.Parse(data)
		if err != nil {
			return
		}
		if out := jsonvalue.Append(nil, v); !json.Valid(out) {
			t.Errorf("Append(Parse(%q)) = %q, not JSON", data, out)
		}
	})
}

// Numbers are written as encoding/json writes them.
func TestAppendNumber_is_as_encoding_json(t *testing.T) {
	check := func(f float64) {
		t.Helper()
		want, err := json.Marshal(f)
		if got := jsonvalue.AppendNumber(nil, f); err != nil || string(got) != string(want) {
			t.Errorf("%v is written %s, want %s, %v", f, got, want, err)
		}
	}
	for _, f := range []float64{0, math.Copysign(0, -1), 1, -1.5, 1234567, 1 << 53, 1e20, 1e21, 1.5e21, 1e-6, 9.99e-7, 1e-10, 1e100, 5e-324, math.MaxFloat64} {
		check(f)
	}
	rapid.Check(t, func(t *rapid.T) { check(rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64).Draw(t, "f")) })
}
