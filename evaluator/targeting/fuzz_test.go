package targeting_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/tiergate/tiergate/evaluator/targeting"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// No rule and no context make the compiler or the evaluator panic or run for long, and
// evaluating again yields the same.
func FuzzCompileEval(f *testing.F) {
	for _, rule := range rules {
		f.Add([]byte(rule), []byte(subject))
	}
	for _, rule := range []string{
		`{"$ref":"self"}`, `{"$ref":"other"}`, `{"var":["a.b\\.c",{"missing_some":[1,["x"]]}]}`, `{"reduce":[{"var":"l"},{"merge":[{"var":"accumulator"},{"var":"current"}]},[]]}`,
		`{"substr":[{"var":"s"},-2,{"var":"n"}]}`, `{"map":[{"var":"l"},{"map":[{"var":""},{"cat":[{"var":""},1e400]}]}]}`, `{"/":{"var":"l"}}`, `{"%":[{"var":"n"},0]}`,
		`{"==":[1,2,3,4]}`, `{"if":[{"var":"x"},{"/":[1,0]}]}`, `{"fractional":{"var":"l"}}`, `{"sem_ver":["1","^",{"var":"s"}]}`, `{"all":["abc",{"var":""}]}`,
	} {
		f.Add([]byte(rule), []byte(`{"l":[1,[2,3],"x",null],"s":"a😀b","n":-1}`))
	}
	shared := map[string]json.RawMessage{"self": []byte(`{"!":{"$ref":"self"}}`), "other": []byte(`{"var":"s"}`)}
	f.Fuzz(func(t *testing.T, rule, context []byte) {
		r, err := targeting.Compile(rule, targeting.Options{Evaluators: shared})
		if err != nil {
			return
		}
		v, err := jsonvalue.Parse(context)
		if err != nil {
			return
		}
		s := targeting.Scope{Attributes: v, FlagKey: "flag", UserID: "u", Tier: "pro", Unix: 1}
		start := time.Now()
		first, err1 := r.Eval(&s)
		second, err2 := r.Eval(&s)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("two evaluations took %v", took)
		}
		name1, ok1 := targeting.VariantName(first)
		name2, ok2 := targeting.VariantName(second)
		if name1 != name2 || ok1 != ok2 || (err1 == nil) != (err2 == nil) {
			t.Errorf("evaluated twice: %q, %v, then %q, %v", name1, err1, name2, err2)
		}
	})
}

// A context as large as a door takes and a rule that goes over all of it end soon, in an
// error rather than in a long wait.
func TestRule_Eval_is_bounded(t *testing.T) {
	rows := strings.TrimSuffix(strings.Repeat("1,", 60_000), ",")
	text := strings.Repeat("x", 900_000)
	context := parse(t, `{"rows":[`+rows+`],"text":"`+text+`"}`)
	for _, rule := range []string{
		`{"map":[{"var":"rows"},{"map":[[1,{"var":""}],{"+":[{"var":""},1]}]}]}`,
		`{"reduce":[{"var":"rows"},{"cat":[{"var":"accumulator"},"0123456789"]},""]}`,
		`{"reduce":[{"var":"rows"},{"merge":[{"var":"accumulator"},{"var":"current"}]},[]]}`,
		`{"cat":[` + strings.Repeat(`{"var":"text"},`, 20) + `""]}`,
		`{"and":[` + strings.Repeat(`{"!=":[{"var":"text"},{"cat":[{"var":"text"},"y"]}]},`, 40) + `true]}`,
		`{"or":[` + strings.Repeat(`{"in":["y",{"var":"text"}]},`, 2000) + `false]}`,
		`{"or":[` + strings.Repeat(`{"in":[2,{"var":"rows"}]},`, 2000) + `false]}`,
	} {
		s := targeting.Scope{Attributes: context}
		if _, err := compile(t, rule).Eval(&s); err == nil {
			t.Errorf("%.80s is evaluated to the end", rule)
		}
	}
}
