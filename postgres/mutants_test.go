package postgres_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tiergate/tiergate/internal/mutanttest"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// seeded names the database, with a bug in one of its functions, that a test of the ledger is
// to be run on; see ledgerURL.
const seeded = "TIERGATE_TEST_SEEDED"

// ledgerURL is the database for a test of the ledger: a fresh one, or that of a mutant.
func ledgerURL(t *testing.T) string {
	t.Helper()
	if url := os.Getenv(seeded); url != "" {
		return url
	}
	return pgtest.New(t)
}

// Each mutant is a bug in one of the ledger's functions. The rule that it names fails on it,
// and says what the mutant says. A mutant is a txtar archive: the test, what it says, the
// function, texts to be found there, and what stands in their places.
func TestLedger_catches_mutants(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	mutanttest.Parts(t, "testdata/mutants/*.txt", 12, func(t *testing.T, parts map[string]string) {
		url := pgtest.New(t)
		seed(t, url, parts)
		root, rule, _ := strings.Cut(parts["test"], "/")
		cmd := exec.CommandContext(t.Context(), self, "-test.run", "^"+root+"$/^"+rule+"$", "-test.count=1", "-test.timeout=1m",
			"-rapid.checks=1000", "-rapid.shrinktime=1ms", "-rapid.nofailfile")
		cmd.Env = append(os.Environ(), seeded+"="+url)
		out, err := cmd.CombinedOutput()
		switch text := string(out); {
		case err == nil:
			t.Errorf("the mutant survives:\n%s", text)
		case !strings.Contains(text, "--- FAIL: "+parts["test"]+" "), !strings.Contains(text, parts["says"]):
			t.Errorf("the mutant dies of something else:\n%.2000s", text)
		}
	})
}

// seed puts a mutant's bug into the function that it names.
func seed(t *testing.T, url string, parts map[string]string) {
	t.Helper()
	conn := pgtest.Connect(t, url)
	var definition string
	if err := conn.QueryRow(t.Context(), `select pg_get_functiondef($1::regproc)`, parts["function"]).Scan(&definition); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), mutanttest.Mutate(t, parts, definition)); err != nil {
		t.Fatal(err)
	}
}
