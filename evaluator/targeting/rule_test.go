package targeting_test

import (
	"encoding/json"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator/targeting"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

func parse(t testing.TB, doc string) tiergate.Value {
	t.Helper()
	v, err := jsonvalue.Parse([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func compile(t testing.TB, rule string) *targeting.Rule {
	t.Helper()
	r, err := targeting.Compile(json.RawMessage(rule), targeting.Options{})
	if err != nil {
		t.Fatalf("Compile(%s): %v", rule, err)
	}
	return r
}

// A rule names the variant that flagd's own implementations name.
func TestRule_Eval(t *testing.T) {
	const context = `{"email":"jane@faas.com","age":33,"roles":["dev","ops"],"user":{"plan":"pro"},"nothing":null}`
	for _, c := range []struct{ rule, want string }{
		{`{"if":[{"==":[{"var":"user.plan"},"pro"]},"a","b"]}`, "a"},
		{`{"if":[{"in":["ops",{"var":"roles"}]},"a","b"]}`, "a"},
		{`{"if":[{"ends_with":[{"var":"email"},"@faas.com"]},"a"]}`, "a"},
		{`{"if":[{"sem_ver":["v1.2.3",">=","1.2"]},"a","b"]}`, "a"},
		{`{"if":[{"<":[18,{"var":"age"},65]},"a","b"]}`, "a"},
		{`{"var":["nothing","fallback"]}`, "fallback"},
		{`{"var":"roles.length"}`, "2"},
		{`{"cat":["x",{"var":"age"},{"var":"none"}]}`, "x33null"},
		{`{"substr":[{"var":"email"},-4]}`, ".com"},
		{`{"reduce":[{"var":"roles"},{"cat":[{"var":"accumulator"},{"var":"current"}]},""]}`, "devops"},
		{`{"some":[{"var":"roles"},{"==":[{"var":""},"dev"]}]}`, "true"},
		{`{"all":[{"var":"roles"},{"starts_with":[{"var":""},"d"]}]}`, "false"},
		{`{"missing":["age","email","zip"]}`, "zip"},
		{`{"+":[{"var":"age"},"1.5"]}`, "34.5"},
		{`{"var":"tier"}`, "pro"},
		{`{"var":"team"}`, "acme"},
		{`{"var":"targetingKey"}`, "jane"},
		{`{"var":"$flagd.flagKey"}`, "flag"},
		{`{"-":[{"var":"$flagd.timestamp"},1700000000]}`, "5"},
	} {
		s := targeting.Scope{Attributes: parse(t, context), FlagKey: "flag", UserID: "jane", Tier: "pro", Team: "acme", Unix: 1700000005}
		v, err := compile(t, c.rule).Eval(&s)
		if err != nil {
			t.Errorf("%s: %v", c.rule, err)
			continue
		}
		if got, _ := targeting.VariantName(v); got != c.want {
			t.Errorf("%s names %q, want %q", c.rule, got, c.want)
		}
	}
}

// The five check values of fractional v2 hold in every language.
func TestFractional_check_values(t *testing.T) {
	rule := compile(t, `{"fractional":[{"cat":[{"var":"$flagd.flagKey"},{"var":"user.name"}]},["clubs",25],["diamonds",25],["hearts",25],["spades",25]]}`)
	for name, want := range map[string]string{"jack": "hearts", "queen": "spades", "ten": "clubs", "nine": "diamonds", "3": "clubs"} {
		v, err := rule.Eval(&targeting.Scope{FlagKey: "fractional-flag", Attributes: parse(t, `{"user":{"name":"`+name+`"}}`)})
		if got, _ := targeting.VariantName(v); err != nil || got != want {
			t.Errorf("%s is in %q, %v, want %q", name, got, err, want)
		}
	}
}
