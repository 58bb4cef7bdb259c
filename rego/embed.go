// Package rego holds the built-in policy as Rego text: who is on which tier, who may use
// what, which limits apply, and who may change things in the admin API. Each file lies at
// the path of the rule it answers for: data.tiergate.access.decision is in
// tiergate/access/decision.rego.
package rego

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed tiergate
var files embed.FS

// Modules returns the built-in modules by path, tests left out. The map is the caller's.
func Modules() map[string]string {
	return read(func(path string) bool { return !strings.HasSuffix(path, "_test.rego") })
}

// Tests returns the tests of the built-in modules by path. The map is the caller's.
func Tests() map[string]string {
	return read(func(path string) bool { return strings.HasSuffix(path, "_test.rego") })
}

func read(wanted func(path string) bool) map[string]string {
	out := map[string]string{}
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !wanted(path) {
			return err
		}
		text, err := files.ReadFile(path)
		out[path] = string(text)
		return err
	})
	if err != nil {
		panic("tiergate: bug: the embedded Rego cannot be read: " + err.Error())
	}
	return out
}
