package quota

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/tiergate/tiergate/internal/mutanttest"
)

// Each mutant is a bug that would admit too much, lose units, or count wrongly, and the
// explorer finds a way to it. A mutant is a txtar archive: the configuration that finds it,
// the file it is about, texts to be found there, and what stands in their places.
func TestExplore_catches_mutants(t *testing.T) {
	mutanttest.Each(t, "testdata/mutants/*.txt", 8, func(t *testing.T, overlay string, parts map[string]string) {
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

// Each of these is a bug of the engine around the leases, and the test that it names fails.
func TestEngine_catches_mutants(t *testing.T) {
	mutanttest.Each(t, "testdata/mutants/engine/*.txt", 8, func(t *testing.T, overlay string, parts map[string]string) {
		failsItsTest(t, overlay, parts)
	})
}

// Each of these has the sums of a holder begin anew, and the state machine of all ledgers
// finds that.
func TestMemory_catches_mutants(t *testing.T) {
	mutanttest.Each(t, "testdata/mutants/machine/*.txt", 2, func(t *testing.T, overlay string, parts map[string]string) {
		failsItsTest(t, overlay, parts, "-rapid.checks=10000", "-rapid.shrinktime=1ms", "-rapid.nofailfile")
	})
}

// failsItsTest runs the test that a mutant names. It has to fail, and to say what the mutant
// says, if it says anything.
func failsItsTest(t *testing.T, overlay string, parts map[string]string, flags ...string) {
	args := append([]string{
		"test", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-count=1", "-timeout", "2m", "-run", "^" + parts["test"] + "$", ".",
	}, flags...)
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
	switch text := string(out); {
	case err == nil:
		t.Errorf("the mutant survives:\n%s", text)
	case !strings.Contains(text, "--- FAIL: "+parts["test"]), !strings.Contains(text, parts["says"]):
		t.Errorf("the mutant dies of something else:\n%.2000s", text)
	}
}
