package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tiergate/tiergate/policy"
)

// policyCmd works on a folder of Rego that replaces or extends the built-in policy.
type policyCmd struct {
	Check policyCheckCmd `cmd:"" help:"Parse, type-check and admit the modules, as publishing them would."`
	Test  policyTestCmd  `cmd:"" help:"Run the *_test.rego files together with the built-in policy."`
	Fmt   policyFmtCmd   `cmd:"" help:"Format the modules in place."`
}

type policyDir struct {
	Dir string `arg:"" help:"The folder." type:"existingdir"`
}

// readModules reads the *.rego files below a folder by their path in it.
func readModules(dir string) (map[string]string, error) {
	modules := map[string]string{}
	size := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".rego") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if size += len(text); size > 1<<20 {
			return errors.New("the folder holds more than 1 MiB of Rego")
		}
		rel, err := filepath.Rel(dir, path)
		modules[filepath.ToSlash(rel)] = string(text)
		return err
	})
	if err == nil && len(modules) == 0 {
		err = errors.New("the folder holds no .rego file")
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dir, err)
	}
	return modules, nil
}

type policyCheckCmd struct{ policyDir }

// Run prints each problem as file:row:col.
func (c *policyCheckCmd) Run(ctx context.Context, out console) error {
	modules, err := readModules(c.Dir)
	if err != nil {
		return err
	}
	if err := policy.Check(modules); err != nil {
		return err
	}
	if _, err := policy.Admit(ctx, modules, policy.Definitions{}); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out.out, count(len(modules), "module is", "modules are"), "admissible")
	return err
}

// count says how many there are of something, in the words for one and for several.
func count(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", several)
}

type policyTestCmd struct{ policyDir }

// Run prints one line per test; a failed one makes the command fail.
func (c *policyTestCmd) Run(ctx context.Context, out console) error {
	modules, err := readModules(c.Dir)
	if err != nil {
		return err
	}
	results, err := policy.Test(ctx, modules)
	if err != nil {
		return err
	}
	if len(results) == 0 {
		return fmt.Errorf("%s holds no test: rules named test_… in *_test.rego", c.Dir)
	}
	failed := 0
	for _, r := range results {
		word := "PASS"
		switch {
		case r.Skipped:
			word = "SKIP"
		case !r.Passed:
			word = "FAIL"
			failed++
		}
		fmt.Fprintf(out.out, "%s %s:%d %s %s\n", word, r.File, r.Row, r.Name, r.Failure)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s failed", failed, count(len(results), "test", "tests"))
	}
	return nil
}

type policyFmtCmd struct {
	policyDir
	Check bool `help:"Change nothing; fail when a module is not formatted."`
}

// Run rewrites the modules that are not formatted, and names them.
func (c *policyFmtCmd) Run(out console) error {
	modules, err := readModules(c.Dir)
	if err != nil {
		return err
	}
	changed := 0
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		text, err := policy.Format(path, modules[path])
		if err != nil {
			return err
		}
		if text == modules[path] {
			continue
		}
		changed++
		fmt.Fprintln(out.out, path)
		if c.Check {
			continue
		}
		if err := os.WriteFile(filepath.Join(c.Dir, filepath.FromSlash(path)), []byte(text), 0o644); err != nil {
			return fmt.Errorf("format %s: %w", path, err)
		}
	}
	if c.Check && changed > 0 {
		return fmt.Errorf("%s not formatted", count(changed, "module is", "modules are"))
	}
	return nil
}
