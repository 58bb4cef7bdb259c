package targeting_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator/targeting"
)

// A rule that cannot work is refused with the place of the fault.
func TestCompile_refuses(t *testing.T) {
	shared := map[string]json.RawMessage{
		"self": []byte(`{"!":[{"$ref":"self"}]}`), "one": []byte(`{"$ref":"two"}`), "two": []byte(`[{"$ref":"one"}]`),
		"bad": []byte(`{"if":`), "wide": []byte(`[` + strings.Repeat("1,", 200) + `1]`),
	}
	for rule, want := range map[string]string{
		`{"if":[`:                   "not JSON",
		`{"if":[true,{"bogus":1}]}`: `if[1]: there is no operator "bogus"`,
		`{"if":[{"==":[{"var":"a"},{"x":1,"y":2}]},1]}`: `if[0].==[1]: an operation has one operator, not "x" and "y"`,
		`{"and":[{"var":"a"},{"/":[1,0]}]}`:             `and[1]./: an operand is not a number`,
		`{"+":[{"var":"a"},"x"]}`:                       `+: an operand is not a number`,
		`{"$ref":"none"}`:                               `there is no shared rule "none"`,
		`{"if":[{"$ref":"self"},1]}`:                    `shared rule "self" refers to itself`,
		`{"$ref":"one"}`:                                `refers to itself`,
		`{"$ref":"bad"}`:                                `shared rule "bad": not JSON`,
		`{"$ref":7}`:                                    "is a string",
		`{"map":{"var":"a"}}`:                           "map: the arguments",
		strings.Repeat(`{"!":`, 65) + "1" + strings.Repeat(`}`, 65): "deeper than 64",
		`[` + strings.Repeat(`{"$ref":"wide"},`, 100) + `1]`:        "at most 16384 values",
		strings.Repeat(`[`, 300) + strings.Repeat(`]`, 300):         "nested",
	} {
		_, err := targeting.Compile(json.RawMessage(rule), targeting.Options{Evaluators: shared})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Compile(%.60s): %v, want %q", rule, err, want)
		}
	}
	if _, err := targeting.Compile(json.RawMessage(`true`), targeting.Options{Fractional: "v9"}); err == nil {
		t.Error("an unknown fractional algorithm is taken")
	}
}

// Reads says of what the answer may depend: clients cache what depends on nothing.
func TestRule_Reads(t *testing.T) {
	caller, clock := targeting.Reads{Caller: true}, targeting.Reads{Time: true}
	both := targeting.Reads{Caller: true, Time: true}
	for rule, want := range map[string]targeting.Reads{
		`"on"`:                                            {},
		`{"if":[{"==":[1,1]},"on","off"]}`:                {},
		`{"var":"$flagd.flagKey"}`:                        {},
		`{"fractional":["salt",["a",1]]}`:                 {},
		`{"map":[[1,2],{"var":""}]}`:                      {},
		`{"var":"plan"}`:                                  caller,
		`{"var":"tier"}`:                                  caller,
		`{"missing":["plan"]}`:                            caller,
		`{"fractional":[["a",1],["b",1]]}`:                caller,
		`{"fractional":[{"var":"x"},["b",1]]}`:            caller,
		`{">":[{"var":"$flagd.timestamp"},5]}`:            clock,
		`{"missing":["$flagd.timestamp"]}`:                clock,
		`{"var":"$flagd"}`:                                both,
		`{"var":""}`:                                      both,
		`{"var":{"cat":["a",{"var":"b"}]}}`:               both,
		`{"if":[{"var":"a"},{"var":"$flagd.timestamp"}]}`: both,
	} {
		if got := compile(t, rule).Reads(); got != want {
			t.Errorf("%s reads %+v, want %+v", rule, got, want)
		}
	}
}

// Results name variants as JavaScript prints them.
func TestVariantName(t *testing.T) {
	for doc, want := range map[string]string{
		`"a"`: "a", `""`: "", `true`: "true", `false`: "false", `1.0`: "1", `-0`: "0", `0.1`: "0.1", `1e21`: "1e+21", `1e-7`: "1e-7",
		`123456789012345680000`: "123456789012345680000", `1.5e300`: "1.5e+300", `["a",[1,null],{}]`: "a,1,,[object Object]", `{}`: "[object Object]",
	} {
		if got, ok := targeting.VariantName(parse(t, doc)); !ok || got != want {
			t.Errorf("%s names %q, %v, want %q", doc, got, ok, want)
		}
	}
	for _, v := range []tiergate.Value{{}, tiergate.NullOf()} {
		if got, ok := targeting.VariantName(v); ok {
			t.Errorf("nothing names %q", got)
		}
	}
}

// InShare is fractional with the implicit key and the weights in, first, and out.
func TestInShare_is_fractional(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		flag, user := rapid.String().Draw(t, "flag"), rapid.StringN(1, 300, -1).Draw(t, "user")
		weight := rapid.Int64Range(0, 100_000).Draw(t, "weight")
		rule, err := targeting.Compile(fmt.Appendf(nil, `{"fractional":[["in",%d],["out",%d]]}`, weight, 100_000-weight), targeting.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, err := rule.Eval(&targeting.Scope{FlagKey: flag, UserID: user})
		if err != nil || targeting.InShare(flag, user, weight) != (v.Text() == "in") {
			t.Errorf("fractional says %q, %v", v.Text(), err)
		}
	})
	if targeting.InShare("flag", "", 100_000) {
		t.Error("nobody is in a share")
	}
}
