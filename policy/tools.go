package policy

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/tiergate/tiergate/rego"
)

// Check parses and type-checks an admin's modules, tests included, together with the
// built-in ones, as publishing would; it does not try them out (see Admit). What is wrong
// is an *Error.
func Check(modules map[string]string) error {
	if _, err := Compile(modules, Definitions{}); err != nil {
		return err
	}
	if len(modules) == len(withoutTests(modules)) {
		return nil
	}
	all, err := withTests(modules)
	if err != nil {
		return err
	}
	compiler := newCompiler()
	if compiler.Compile(all); compiler.Failed() {
		return refusal("", compiler.Errors)
	}
	return nil
}

// A TestResult is the outcome of one test rule.
type TestResult struct {
	Name     string // "package.test_name"
	File     string
	Row      int
	Passed   bool
	Skipped  bool   // a rule named todo_test_…
	Failure  string // what went wrong other than a test that is not true; mostly ""
	Duration time.Duration
}

// testTime is how long one test may take.
const testTime = 5 * time.Second

// Test runs the tests of an admin's modules, those rules of *_test.rego that are named
// test_…, together with the built-in modules. Modules nil runs the built-in tests. The
// results are sorted by file and row. What does not compile is an *Error.
func Test(ctx context.Context, modules map[string]string) ([]TestResult, error) {
	if modules == nil {
		modules = rego.Tests()
	}
	all, err := withTests(modules)
	if err != nil {
		return nil, err
	}
	results, err := tester.NewRunner().
		SetCompiler(newCompiler()).
		SetTimeout(testTime).
		SetModules(all).
		RunTests(ctx, nil)
	if err != nil {
		return nil, refusal("", err)
	}
	var out []TestResult
	for r := range results {
		t := TestResult{
			Name: strings.TrimPrefix(r.Package, "data.") + "." + r.Name, Passed: r.Pass(), Skipped: r.Skip, Duration: r.Duration,
		}
		if r.Location != nil {
			t.File, t.Row = r.Location.File, r.Location.Row
		}
		if r.Error != nil {
			t.Failure = r.Error.Error()
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b TestResult) int {
		if a.File != b.File {
			return strings.Compare(a.File, b.File)
		}
		return a.Row - b.Row
	})
	return out, nil
}

// withTests parses an admin's modules, tests too, over the built-in ones. Test modules are
// parsed without the bound on rules and may lie anywhere.
func withTests(modules map[string]string) (map[string]*ast.Module, error) {
	own, err := parse(withoutTests(modules))
	if err != nil {
		return nil, err
	}
	all := overlay(builtin(), own)
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		if !strings.HasSuffix(path, testSuffix) {
			continue
		}
		m, err := parseModule(path, modules[path])
		if err != nil {
			return nil, err
		}
		all[path] = m
	}
	return all, nil
}

// Format returns a module as `opa fmt` writes it. What does not parse is an *Error.
func Format(path, text string) (string, error) {
	if _, err := parseModule(path, text); err != nil {
		return "", err
	}
	out, err := format.SourceWithOpts(path, []byte(text), format.Opts{RegoVersion: ast.RegoV1})
	if err != nil {
		return "", refusal(path, err)
	}
	return string(bytes.TrimRight(out, "\n")) + "\n", nil
}
