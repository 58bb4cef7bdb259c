package targeting_test

import (
	"testing"

	"github.com/tiergate/tiergate/evaluator/targeting"
)

// rules are what flags usually ask; none of them builds a value.
var rules = map[string]string{
	"var_equal":  `{"if":[{"==":[{"var":"plan"},"pro"]},"on","off"]}`,
	"nested_var": `{"if":[{"==":[{"var":"user.address.country"},"CH"]},"on",null]}`,
	"email_in":   `{"if":[{"in":["@faas.com",{"var":"email"}]},"on","off"]}`,
	"role_in":    `{"if":[{"in":[{"var":"role"},["owner","admin","ops"]]},"on","off"]}`,
	"and_or":     `{"and":[{">=":[{"var":"age"},18]},{"or":[{"==":[{"var":"plan"},"free"]},{"==":[{"var":"plan"},"pro"]}]}]}`,
	"between":    `{"<":[18,{"var":"age"},65]}`,
	"sem_ver":    `{"if":[{"sem_ver":[{"var":"version"},">=","1.2.0"]},"on","off"]}`,
	"fractional": `{"fractional":[["a",25],["b",25],["c",25],["d",25]]}`,
	"typical":    `{"if":[{"==":[{"var":"plan"},"pro"]},{"fractional":[["a",50],["b",50]]},"off"]}`,
	"by_email":   `{"fractional":[{"cat":[{"var":"$flagd.flagKey"},{"var":"email"}]},["a",50],["b",50]]}`,
	"rollout":    `{"fractional":[["on",{"-":[{"var":"$flagd.timestamp"},1700000000]}],["off",100]]}`,
	"some":       `{"some":[{"var":"roles"},{"==":[{"var":""},"ops"]}]}`,
	"sum":        `{">":[{"reduce":[{"var":"counts"},{"+":[{"var":"accumulator"},{"var":"current"}]},0]},5]}`,
	"tier":       `{"if":[{"==":[{"var":"tier"},"pro"]},"on","off"]}`,
}

const subject = `{"email":"jane@faas.com","plan":"pro","role":"ops","age":33,"version":"1.4.2",
	"roles":["dev","ops"],"counts":[1,2,3],"user":{"address":{"country":"CH"}}}`

func scope(t testing.TB) targeting.Scope {
	return targeting.Scope{Attributes: parse(t, subject), FlagKey: "new-dashboard", UserID: "jane", Tier: "pro", Unix: 1700000050}
}

// A rule that builds no value allocates nothing, and its scope stays on the stack.
func TestRule_allocations(t *testing.T) {
	for name, text := range rules {
		rule := compile(t, text)
		known := scope(t)
		n := testing.AllocsPerRun(100, func() {
			s := known
			v, err := rule.Eval(&s)
			if _, ok := targeting.VariantName(v); err != nil || !ok {
				t.Fatalf("%s: %v, %v", name, v, err)
			}
		})
		if n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { targeting.InShare("new-dashboard", "jane", 25_000) }); n != 0 {
		t.Errorf("InShare allocates %v times", n)
	}
}

func BenchmarkRule(b *testing.B) {
	for name, text := range rules {
		b.Run(name, func(b *testing.B) {
			rule, s := compile(b, text), scope(b)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := rule.Eval(&s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		compile(b, rules["typical"])
	}
}

func BenchmarkInShare(b *testing.B) {
	for b.Loop() {
		targeting.InShare("new-dashboard", "jane", 25_000)
	}
}
