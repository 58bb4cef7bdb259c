// Package mutanttest puts seeded bugs into a package's own code, so that a test can show that
// its tests catch them.
package mutanttest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each runs f for each mutant that a pattern finds, as a subtest of its name, and fails when
// there are fewer than least. A mutant is a txtar archive: the parts that f reads, and
//
//	-- file --  the source file, from the test's folder
//	-- old --   a text that it holds once; also old2, old3 …
//	-- new --   what stands in its place; also new2, new3 …
//
// The overlay is the file for go test -overlay that puts the mutated source in place.
func Each(t *testing.T, pattern string, least int, f func(t *testing.T, overlay string, parts map[string]string)) {
	t.Helper()
	Parts(t, pattern, least, func(t *testing.T, parts map[string]string) { f(t, overlayOf(t, parts), parts) })
}

// Parts runs f for each mutant as Each does, without an overlay: for bugs in what is no Go
// source. Such a mutant needs no file; f puts it in place with Mutate.
func Parts(t *testing.T, pattern string, least int, f func(t *testing.T, parts map[string]string)) {
	t.Helper()
	mutants, err := filepath.Glob(pattern)
	if err != nil || len(mutants) < least {
		t.Fatalf("%d mutants, %v", len(mutants), err)
	}
	for _, path := range mutants {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			f(t, read(t, path))
		})
	}
}

func read(t *testing.T, path string) map[string]string {
	t.Helper()
	archive, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{}
	for _, part := range strings.Split("\n"+string(archive), "\n-- ")[1:] {
		name, body, _ := strings.Cut(part, " --\n")
		parts[name] = strings.TrimSuffix(body, "\n")
	}
	return parts
}

func overlayOf(t *testing.T, parts map[string]string) string {
	t.Helper()
	source, err := filepath.Abs(parts["file"])
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	mutant := Mutate(t, parts, string(text))
	mutated, overlay := filepath.Join(t.TempDir(), "mutated.go"), filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(mutated, []byte(mutant), 0o600); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]any{"Replace": map[string]string{source: mutated}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}

// Mutate puts a mutant into the text that it is about, which has to hold each text to be
// replaced once.
func Mutate(t *testing.T, parts map[string]string, text string) string {
	t.Helper()
	mutant := text
	for name, old := range parts {
		number, ok := strings.CutPrefix(name, "old")
		if !ok {
			continue
		}
		if n := strings.Count(text, old); n != 1 {
			t.Fatalf("the text to be replaced (%s) is there %d times", name, n)
		}
		mutant = strings.Replace(mutant, old, parts["new"+number], 1)
	}
	return mutant
}
