package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// killPostgres kills the server that a development environment started for itself.
func killPostgres(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "postgres", "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// A private Postgres that is killed is started again: decisions go on meanwhile, and
// changes go through again afterwards.
func TestDev_starts_its_Postgres_again(t *testing.T) {
	dir := dataDir(t)
	p := launch(t, dir, "dev")
	p.waitReady(t)
	for round := range 2 {
		killPostgres(t, dir)
		p.eventually(t, "a change goes through", func() bool {
			if status, got := p.ask(t, "api-access", map[string]any{"targetingKey": "alice"}); status != 200 {
				t.Fatalf("the decision is %d: %v", status, got)
			}
			status, _ := p.admin(t, http.MethodPatch, "/api/features/api-access", fmt.Sprintf(`{"description": "round %d"}`, round))
			return status == 200
		})
		p.waitReady(t)
	}
	if n := strings.Count(p.out.String(), "postgres ended by itself"); n != 2 {
		t.Errorf("the end of Postgres is told %d times", n)
	}
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the exit code is %d", code)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "postgres", "data", "postmaster.pid")); err != nil || len(left) > 0 {
		t.Errorf("Postgres has not ended: %v, %v", left, err)
	}
}

// A private Postgres that cannot be started again ends the program with one sentence.
func TestDev_ends_when_its_Postgres_cannot_start(t *testing.T) {
	dir := dataDir(t)
	p := launch(t, dir, "dev", "--no-demo")
	p.waitReady(t)
	if err := os.Remove(filepath.Join(dir, "postgres", "data", "global", "pg_control")); err != nil {
		t.Fatal(err)
	}
	killPostgres(t, dir)
	<-p.done
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("the exit code is %d", code)
	}
	lines := strings.Split(strings.TrimSpace(p.out.String()), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "tiergate: the private Postgres ended and does not start again: ") {
		t.Errorf("the last line is %q", last)
	}
}
