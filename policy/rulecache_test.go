package policy_test

import (
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate/policy"
)

// What an evaluation remembers of its rules is what OPA's own cache would, whatever the
// order, the number and the form of names, and however often input is replaced.
func TestRuleCache_is_as_opas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ours, theirs := policy.NewRuleCache(), topdown.NewVirtualCache()
		depth := 0
		for range rapid.IntRange(1, 80).Draw(t, "operations") {
			// The evaluator writes over the name it gave, so it is a slice of its own here.
			name := ast.Ref{ast.DefaultRootDocument}
			for range rapid.IntRange(0, 3).Draw(t, "length") {
				name = append(name, rapid.SampledFrom(ruleNameTerms()).Draw(t, "term"))
			}
			switch rapid.IntRange(0, 9).Draw(t, "operation") {
			case 0:
				ours.Push()
				theirs.Push()
				depth++
			case 1:
				if depth > 0 {
					ours.Pop()
					theirs.Pop()
					depth--
				}
			case 2, 3, 4, 5:
				value := rapid.SampledFrom([]*ast.Term{nil, ast.BooleanTerm(true), ast.BooleanTerm(false), ast.IntNumberTerm(depth)}).Draw(t, "value")
				ours.Put(name, value)
				theirs.Put(name, value)
				name[len(name)-1] = ast.StringTerm("written over")
			default:
				got, gotUndefined := ours.Get(name)
				want, wantUndefined := theirs.Get(name)
				if got != want || gotUndefined != wantUndefined {
					t.Fatalf("%v is %v, %v, want %v, %v", name, got, gotUndefined, want, wantUndefined)
				}
			}
		}
	})
}

// ruleNameTerms are made anew, so that equal ones are not the same ones.
func ruleNameTerms() []*ast.Term {
	out := []*ast.Term{
		ast.NumberTerm("1"), ast.NumberTerm("1.0"), ast.NumberTerm("9007199254740993"), ast.NumberTerm("9007199254740992"),
		ast.NumberTerm("1e400"), ast.NumberTerm("10e399"), ast.StringTerm("1"), ast.VarTerm("x"), ast.BooleanTerm(true),
		ast.ArrayTerm(ast.StringTerm("a")), ast.ObjectTerm(ast.Item(ast.StringTerm("a"), ast.NumberTerm("1"))), ast.SetTerm(),
	}
	for _, s := range []string{"a", "b", "c"} {
		out = append(out, ast.StringTerm(s))
	}
	return out
}
