package examples_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tiergate/tiergate/internal/demo"
	"github.com/tiergate/tiergate/internal/porttest"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// TestMain gives the tests a Postgres.
func TestMain(m *testing.M) {
	code := pgtest.Run(m)
	_ = os.RemoveAll(tiergateDir)
	os.Exit(code)
}

var (
	tiergateDir string
	tiergateBin = sync.OnceValues(func() (string, error) {
		var err error
		if tiergateDir, err = os.MkdirTemp("", "tiergate-examples-"); err != nil {
			return "", err
		}
		bin := filepath.Join(tiergateDir, "tiergate")
		return bin, exec.Command("go", "build", "-o", bin, "../cmd/tiergate").Run()
	})
)

// sidecar runs a sidecar over a Postgres with the demo data until the test ends, and returns
// its address.
func sidecar(t *testing.T) (addr string) {
	t.Helper()
	bin, err := tiergateBin()
	if err != nil {
		t.Fatalf("build tiergate: %v", err)
	}
	url := pgtest.New(t)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.SeedDemo(t.Context(), demo.Data()); err != nil {
		t.Fatal(err)
	}
	addr, ops := porttest.Addr(t), porttest.Addr(t)
	start(t, bin, "sidecar", "--source", url, "--http-addr", addr, "--ops-addr", ops, "--grpc-addr", "none", "--sync-addr", "none",
		"--data-dir", t.TempDir(), "--log-level", "warn")
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		resp, err := http.Get("http://" + ops + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK && counts(addr) {
				return addr
			}
		}
		if time.Now().After(end) {
			t.Fatalf("the sidecar is not ready after half a minute: %v", err)
		}
	}
}

// counts says whether the ledger has answered a sidecar: the first time it takes a busy Postgres
// long, and a use waits for a second only.
func counts(addr string) bool {
	const use = `{"feature": "exports", "subject": {"user": "nobody in the examples"}}`
	resp, err := http.Post("http://"+addr+"/v1/consume", "application/json", strings.NewReader(use))
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return err == nil && strings.Contains(string(text), `"allow":true`)
}
