package policy_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tiergate/tiergate/internal/mutanttest"
)

// Each mutant of the projection or the key is a bug that would let one caller have
// another's answer. The differential property fails on every one of them. A mutant is a
// txtar archive: the file it is about, texts to be found there, and what stands in their
// places.
func TestDifferential_catches_mutants(t *testing.T) {
	mutanttest.Each(t, "testdata/mutants/*.txt", 3, func(t *testing.T, overlay string, _ map[string]string) {
		cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-count=1", "-run", "^TestDifferential_cached_against_plain$", ".", "-rapid.shrinktime=1ms")
		cmd.Env = append(os.Environ(), "TIERGATE_DIFFERENTIAL=40000") // the weakest needs 13 policies of 90 each, and sometimes 60
		out, err := cmd.CombinedOutput()
		switch text := string(out); {
		case err == nil:
			t.Errorf("the mutant survives:\n%s", text)
		case !strings.Contains(text, "plain  ="):
			t.Errorf("the mutant dies of something else:\n%.2000s", text)
		}
	})
}
