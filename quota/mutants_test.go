package quota

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each mutant is a bug that would admit too much, lose units, or count wrongly, and the
// explorer finds a way to it. A mutant is a txtar archive: the configuration that finds it,
// the file it is about, texts to be found there, and what stands in their places.
func TestExplore_catches_mutants(t *testing.T) {
	mutants, err := filepath.Glob("testdata/mutants/*.txt")
	if err != nil || len(mutants) < 8 {
		t.Fatalf("%d mutants, %v", len(mutants), err)
	}
	for _, path := range mutants {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			overlay, parts := overlayOf(t, path)
			configuration := parts["configuration"]
			run := "^TestExplore_every_state$/^" + strings.ReplaceAll(regexp.QuoteMeta(configuration), " ", "_") + "$"
			out, err := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-count=1", "-run", run, ".").CombinedOutput()
			switch text := string(out); {
			case err == nil:
				t.Errorf("the mutant survives:\n%s", text)
			case !strings.Contains(text, " "+configuration+": ") || !strings.Contains(text, "  1. "):
				t.Errorf("the mutant dies of something else:\n%.2000s", text)
			default:
				what, _, _ := strings.Cut(text[strings.Index(text, " "+configuration+": ")+1:], "\n")
				t.Log(what)
			}
		})
	}
}

// Each of these is a bug of the engine around the leases, and the test that it names fails.
func TestEngine_catches_mutants(t *testing.T) {
	mutants, err := filepath.Glob("testdata/mutants/engine/*.txt")
	if err != nil || len(mutants) < 8 {
		t.Fatalf("%d mutants, %v", len(mutants), err)
	}
	for _, path := range mutants {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			overlay, parts := overlayOf(t, path)
			out, err := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-count=1",
				"-timeout", "2m", "-run", "^"+parts["test"]+"$", ".").CombinedOutput()
			switch text := string(out); {
			case err == nil:
				t.Errorf("the mutant survives:\n%s", text)
			case !strings.Contains(text, "--- FAIL: "+parts["test"]):
				t.Errorf("the mutant dies of something else:\n%.2000s", text)
			}
		})
	}
}

// overlayOf writes the mutated file and returns the -overlay file that puts it in place, and
// the parts of the archive.
func overlayOf(t *testing.T, path string) (overlay string, parts map[string]string) {
	t.Helper()
	archive, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	parts = map[string]string{}
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
	if n := strings.Count(string(text), parts["old"]); n != 1 {
		t.Fatalf("%s holds the text to be replaced %d times", parts["file"], n)
	}
	mutated := filepath.Join(t.TempDir(), "mutated.go")
	if err := os.WriteFile(mutated, []byte(strings.Replace(string(text), parts["old"], parts["new"], 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]any{"Replace": map[string]string{source: mutated}})
	if err != nil {
		t.Fatal(err)
	}
	overlay = filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(overlay, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay, parts
}
