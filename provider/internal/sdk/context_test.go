package sdk_test

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/provider/internal/sdk"
)

// A context reads as what encoding/json makes of it, also in memory that was used before.
func TestContext_Read(t *testing.T) {
	type plan struct {
		Name string `json:"name"`
	}
	at := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	c := sdk.NewContext()
	defer c.Release()
	for range 3 {
		for _, flat := range []openfeature.FlattenedContext{
			nil,
			{},
			{"targetingKey": "alice", "teamId": "acme", "age": 33, "plan": "pro", "beta": true, "nothing": nil},
			{"i8": int8(-8), "i16": int16(-16), "i32": int32(-32), "i64": int64(math.MinInt64), "u8": uint8(8), "u64": uint64(math.MaxUint64)},
			{"f32": float32(0.5), "f": 0.1, "whole": 10.0, "large": 1e21, "larger": 1e300, "small": 1e-7, "less": 1.5e-9, "zero": 0.0, "sixth": 1e-6, "n": -1e-10},
			{"list": []any{1, "a", []any{nil, map[string]any{"x": []string{"y", "z"}}}}, "tags": []string{"a", "b"}, "none": []string{}, "ints": []int{1, 2}},
			{"object": map[string]any{"a": map[string]any{"b": map[string]any{}}}, "struct": plan{"pro"}, "pointer": &plan{"free"}, "at": at},
			{"number": json.Number("12.50"), "raw": json.RawMessage(`{"a":[1]}`), "text": `"<>&` + "\u2028\n"},
		} {
			if err := c.Read(flat); err != nil {
				t.Fatalf("Read(%v): %v", flat, err)
			}
			want := map[string]any{}
			text, err := json.Marshal(map[string]any(flat))
			if err == nil && len(flat) > 0 {
				err = json.Unmarshal(text, &want)
			}
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]any{}
			if len(flat) > 0 {
				if err := json.Unmarshal(jsonvalue.Append(nil, c.Attributes), &got); err != nil {
					t.Fatal(err)
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%v reads as %v", flat, got)
			}
			if user, _ := flat["targetingKey"].(string); c.UserID != user {
				t.Errorf("the user of %v is %q", flat, c.UserID)
			}
			if team, _ := flat["teamId"].(string); c.TeamID != team {
				t.Errorf("the team of %v is %q", flat, c.TeamID)
			}
		}
	}
}

// A context that was released holds on to nothing that any of its readings has found.
func TestContext_Release_forgets_all_that_was_read(t *testing.T) {
	long := openfeature.FlattenedContext{
		"targetingKey": "alice", "teamId": "acme", "list": []any{"a", map[string]any{"b": "c"}}, "object": map[string]any{"d": []string{"e"}},
	}
	for _, readings := range [][]openfeature.FlattenedContext{
		{long}, {long, {"x": "y"}}, {long, nil}, {{"x": "y"}, long, {"bad": make(chan int)}},
	} {
		c := sdk.NewContext()
		for _, flat := range readings {
			_ = c.Read(flat)
		}
		c.Release()
		if !c.Empty() {
			t.Errorf("after %v it holds on to something", readings)
		}
	}
}

// Numbers have the text that encoding/json gives them, so that a sidecar buckets and compares alike.
func TestContext_Read_writes_numbers_as_JSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x any = rapid.Float64().Draw(t, "float")
		if rapid.Bool().Draw(t, "whole") {
			x = rapid.Int64().Draw(t, "int")
		}
		want, err := json.Marshal(x)
		c := sdk.NewContext()
		defer c.Release()
		switch got := c.Read(openfeature.FlattenedContext{"x": x}); {
		case err != nil && got == nil:
			t.Fatalf("%v has no JSON form, and is read", x)
		case err == nil && got != nil:
			t.Fatalf("Read(%v): %v", x, got)
		case err == nil:
			if text := c.Attributes.Field("x").Text(); text != string(want) {
				t.Fatalf("%v is written %s, and %s by encoding/json", x, text, want)
			}
		}
	})
}

// What has no JSON form, and a subject that is not named by a string, is refused in a sentence.
func TestContext_Read_refuses(t *testing.T) {
	deep := any("x")
	for range 40 {
		deep = []any{deep}
	}
	round := map[string]any{}
	round["self"] = round
	many := openfeature.FlattenedContext{}
	for i := range tiergate.MaxAttributes + 1 {
		many[fmt.Sprint(i)] = i
	}
	c := sdk.NewContext()
	defer c.Release()
	for part, flat := range map[string]openfeature.FlattenedContext{
		"a: NaN has no JSON form":        {"a": math.NaN()},
		"a: b: +Inf has no JSON form":    {"a": map[string]any{"b": math.Inf(1)}},
		"it has no JSON form":            {"a": make(chan int)},
		"nested deeper":                  {"a": deep},
		"it is nested deeper":            {"a": round},
		"targetingKey is not a string":   {"targetingKey": 7},
		"teamId is not a string":         {"teamId": []string{"acme"}},
		"the context has more than 4096": many,
	} {
		if err := c.Read(flat); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("want %q, got %.200v", part, err)
		}
	}
	if err := c.Read(openfeature.FlattenedContext{"targetingKey": nil}); err != nil {
		t.Errorf("a targetingKey of nil: %v", err)
	}
}
