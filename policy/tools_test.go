package policy_test

import (
	"testing"

	"github.com/tiergate/tiergate/policy"
)

// The tests of the built-in policy pass.
func TestBuiltin_rego_tests_pass(t *testing.T) {
	results, err := policy.Test(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if !r.Passed {
			t.Errorf("%s:%d: %s fails %s", r.File, r.Row, r.Name, r.Failure)
		}
	}
	if len(results) < 25 {
		t.Errorf("only %d tests ran", len(results))
	}
}
