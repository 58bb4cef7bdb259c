package spool

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each mutant is a bug that logs of this kind have had. The test that it names fails on it,
// and for the reason that it names. A mutant is a txtar archive: what it is, the test, the
// reason as a regular expression, the file it is about, texts to be found there, and what
// stands in their places.
func TestMutants_are_caught(t *testing.T) {
	mutants, err := filepath.Glob("testdata/mutants/*.txt")
	if err != nil || len(mutants) < 12 {
		t.Fatalf("%d mutants, %v", len(mutants), err)
	}
	for _, path := range mutants {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			overlay, parts := overlayOf(t, path)
			cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-count=1", "-timeout=60s",
				"-run", "^"+parts["test"]+"$", ".", "-rapid.checks=20000", "-rapid.shrinktime=1ms", "-rapid.nofailfile")
			cmd.Env = append(os.Environ(), "TIERGATE_POWER_TRACES=200")
			out, err := cmd.CombinedOutput()
			switch text := string(out); {
			case err == nil:
				t.Errorf("the mutant survives:\n%s", text)
			case !strings.Contains(text, "--- FAIL: "+parts["test"]) || !regexp.MustCompile(parts["says"]).MatchString(text):
				t.Errorf("the mutant dies of something else:\n%.2000s", text)
			}
		})
	}
}

// overlayOf writes the mutated file and returns the -overlay file that puts it in place.
func overlayOf(t *testing.T, path string) (string, map[string]string) {
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
	source, err := filepath.Abs(parts["file"])
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	mutant := string(text)
	for name, old := range parts {
		number, ok := strings.CutPrefix(name, "old")
		if !ok {
			continue
		}
		if n := strings.Count(string(text), old); n != 1 {
			t.Fatalf("%s holds the text to be replaced (%s) %d times", parts["file"], name, n)
		}
		mutant = strings.Replace(mutant, old, parts["new"+number], 1)
	}
	mutated := filepath.Join(t.TempDir(), "mutated.go")
	if err := os.WriteFile(mutated, []byte(mutant), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(t.TempDir(), "overlay.json")
	data, err := json.Marshal(map[string]any{"Replace": map[string]string{source: mutated}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay, parts
}
