package structvalue_test

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/internal/structvalue"
)

// anyJSON draws what encoding/json makes of JSON.
func anyJSON(depth int) *rapid.Generator[any] {
	leaf := rapid.OneOf(
		rapid.Just(any(nil)), rapid.Map(rapid.Bool(), toAny[bool]), rapid.Map(rapid.String(), toAny[string]),
		rapid.Map(rapid.Float64Range(-1e300, 1e300), toAny[float64]), rapid.Map(rapid.Int32(), func(n int32) any { return float64(n) }),
	)
	if depth == 0 {
		return leaf
	}
	inner := rapid.Deferred(func() *rapid.Generator[any] { return anyJSON(depth - 1) })
	return rapid.OneOf(leaf,
		rapid.Map(rapid.SliceOfN(inner, 0, 4), toAny[[]any]),
		rapid.Map(rapid.MapOfN(rapid.String(), inner, 0, 20), toAny[map[string]any]),
	)
}

func toAny[T any](v T) any { return v }

// A message becomes what its JSON text becomes: the same members, texts and literals of numbers,
// in the order of their names; and the way back gives the message again.
func TestMaker_is_as_JSON_text(t *testing.T) {
	var m structvalue.Maker
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MapOfN(rapid.String(), anyJSON(3), 0, 20).Draw(t, "object")
		message, err := structpb.NewStruct(want)
		if err != nil {
			t.Skip("not UTF-8")
		}
		m.Reset()
		got, err := m.Struct(message)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(want) // which sorts the names, too
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := jsonvalue.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(jsonvalue.Append(nil, parsed)), string(jsonvalue.Append(nil, got))); diff != "" {
			t.Errorf("mismatch (-of the text +of the message):\n%s", diff)
		}
		back, err := structvalue.OfJSON(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(message.AsMap(), back.GetStructValue().AsMap()); diff != "" {
			t.Errorf("mismatch (-the message +made of its text):\n%s", diff)
		}
	})
}

func nested(depth int) *structpb.Struct {
	s := &structpb.Struct{}
	for range depth {
		s = &structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewStructValue(s)}}
	}
	return s
}

// What is too deep, too much or no JSON is refused, and the Maker goes on.
func TestMaker_bounds(t *testing.T) {
	many := &structpb.ListValue{}
	for range jsonvalue.MaxElements {
		many.Values = append(many.Values, structpb.NewNullValue())
	}
	number := func(f float64) *structpb.Struct {
		return &structpb.Struct{Fields: map[string]*structpb.Value{"n": structpb.NewNumberValue(f)}}
	}
	var m structvalue.Maker
	for _, tc := range []struct {
		name    string
		message *structpb.Struct
		want    string // in the error; "" for none
	}{
		{"as deep as may be", nested(jsonvalue.MaxDepth - 1), ""},
		{"too deep", nested(jsonvalue.MaxDepth), "nested deeper than 32"},
		{"far too deep", nested(3000), "nested deeper than 32"},
		{"too many", &structpb.Struct{Fields: map[string]*structpb.Value{"l": structpb.NewListValue(many)}}, "more than 65536 values"},
		{"not a number", number(math.NaN()), "the number NaN"},
		{"infinite", number(math.Inf(-1)), "the number -Inf"},
		{"nothing said", &structpb.Struct{Fields: map[string]*structpb.Value{"v": nil, "w": {}}}, ""},
	} {
		m.Reset()
		v, err := m.Struct(tc.message)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if err == nil && v.Kind() != tiergate.ObjectValue {
			t.Errorf("%s: kind %v", tc.name, v.Kind())
		}
	}
	m.Reset()
	if v, err := m.Struct(nil); err != nil || v.IsDefined() {
		t.Errorf("no message: %v, %v", v.Kind(), err)
	}
	if v := m.Int(1<<53 + 1); v.Text() != "9007199254740993" {
		t.Errorf("a whole number is %s", v.Text())
	}
}

// What is refused because it is too much has taken no memory before.
func TestMaker_counts_before_it_makes_room(t *testing.T) {
	nulls := func(n int) *structpb.Value {
		list := &structpb.ListValue{Values: make([]*structpb.Value, n)}
		return structpb.NewListValue(list)
	}
	names := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for i := range jsonvalue.MaxElements + 1 {
		names.Fields[strconv.Itoa(i)] = nil
	}
	for what, v := range map[string]*structpb.Value{
		"a list":               nulls(jsonvalue.MaxElements),
		"a list beside others": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{nulls(9), nulls(jsonvalue.MaxElements - 9)}}),
		"an object":            structpb.NewStructValue(names),
	} {
		var m structvalue.Maker
		if _, err := m.Struct(&structpb.Struct{Fields: map[string]*structpb.Value{"v": v}}); err == nil || m.Bytes() > 4096 {
			t.Errorf("%s is refused with %v, and holds %d bytes", what, err, m.Bytes())
		}
	}
}

// Values that were made before more memory was needed stay what they are.
func TestMaker_keeps_what_it_made(t *testing.T) {
	var m structvalue.Maker
	first, _ := m.Struct(nested(3))
	own := m.Object([]string{"n", "list"}, []tiergate.Value{m.Int(7), m.Array([]tiergate.Value{first})})
	for range 1000 {
		if _, err := m.Struct(nested(20)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := string(jsonvalue.Append(nil, own)), `{"n":7,"list":[{"a":{"a":{"a":{}}}}]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Another message of the same size needs no more memory.
func TestMaker_allocations(t *testing.T) {
	message, err := structpb.NewStruct(map[string]any{"country": "NZ", "age": 42, "roles": []any{"a", "b"}, "device": map[string]any{"os": "linux", "ok": true}})
	if err != nil {
		t.Fatal(err)
	}
	var m structvalue.Maker
	if n := testing.AllocsPerRun(100, func() {
		m.Reset()
		if _, err := m.Struct(message); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
