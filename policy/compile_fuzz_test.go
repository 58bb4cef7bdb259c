package policy_test

import (
	"slices"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/tiergate/tiergate/policy"
	"github.com/tiergate/tiergate/rego"
)

// Whatever the text, compiling it neither breaks nor lets a function through that is not
// allowed, and what compiles can be asked.
func FuzzCompile(f *testing.F) {
	for _, text := range rego.Modules() {
		f.Add(text)
	}
	for _, text := range rego.Tests() {
		f.Add(text)
	}
	f.Add("package tiergate.access\n\ndecision := d if d := f(1) with f as http.send\n\nf(x) := x")
	f.Add("package tiergate.access\n\nx := time.now_ns()")
	f.Add("package tiergate.x\n\ny := $\"{input.attributes.a}\"")
	f.Add("package tiergate.x\n\nimport data.tiergate as input\n\ny := input")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := policy.Settings{CacheBytes: 1 << 16}.Compile(map[string]string{"fuzz.rego": text}, policy.Definitions{})
		if err != nil {
			return
		}
		m := ast.MustParseModule(text)
		ast.WalkRefs(m, func(ref ast.Ref) bool {
			if b, ok := ast.BuiltinMap[ref.String()]; ok && !slices.Contains(policy.Allowed(), b.Name) {
				t.Errorf("a module that uses %s is accepted", b.Name)
			}
			return false
		})
		_, _ = e.Access(&policy.Input{Feature: reports, Subject: ivanHome})
		_, _ = e.Access(&policy.Input{Feature: reports, Subject: ivanHome})
	})
}
