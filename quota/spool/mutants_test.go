package spool

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/tiergate/tiergate/internal/mutanttest"
)

// Each mutant is a bug that logs of this kind have had. The test that it names fails on it,
// and for the reason that it names. A mutant is a txtar archive: what it is, the test, the
// reason as a regular expression, the file it is about, texts to be found there, and what
// stands in their places.
func TestMutants_are_caught(t *testing.T) {
	mutanttest.Each(t, "testdata/mutants/*.txt", 12, func(t *testing.T, overlay string, parts map[string]string) {
		cmd := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-count=1", "-timeout=180s",
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
