package policy_test

import (
	"slices"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/tiergate/tiergate/policy"
)

// Whatever the text, compiling it neither breaks nor lets a function through that is not
// allowed, and what compiles can be asked. The seeds are in testdata/fuzz.
func FuzzCompile(f *testing.F) {
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
