package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/server/ofrep/ofreptest"
)

// One command starts everything; each demo decision is right over OFREP, in the official
// clients and on the command line; a change over the admin API is in force in the next answer.
func TestDev(t *testing.T) {
	dir := dataDir(t)
	p := launch(t, dir, "dev")
	p.waitReady(t)

	t.Run("ofrep", func(t *testing.T) { conformance.Run(t, p.conforms) })
	t.Run("npm", func(t *testing.T) { ofreptest.Run(t, "http://"+p.http, conformance.Cases()) })
	t.Run("cli", func(t *testing.T) {
		url := regexp.MustCompile(`database +(\S+)`).FindStringSubmatch(p.out.String())
		if url == nil {
			t.Fatal("the greeting names no database")
		}
		conformance.Run(t, func(t *testing.T, c conformance.Case) conformance.Answer { return evaluate(t, url[1], c) })
	})
	t.Run("change", func(t *testing.T) { p.changes(t) })

	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("after SIGTERM the exit code is %d", code)
	}
	t.Run("second start", func(t *testing.T) { secondStart(t, dir) })
}

// conforms asks a case over OFREP.
func (p *program) conforms(t *testing.T, c conformance.Case) conformance.Answer {
	_, got := p.ask(t, c.Flag, c.Context)
	a := conformance.Answer{
		Value: got["value"], Variant: value(got, "variant"), Reason: value(got, "reason"), ErrorCode: value(got, "errorCode"),
		Tier: value(got, "metadata", "tier"), Denied: value(got, "metadata", "denied") == "true", Upgrade: value(got, "metadata", "upgrade"),
	}
	if a.ErrorCode != "" {
		a.Reason = "ERROR"
	}
	return a
}

// evaluate asks a case on the command line.
func evaluate(t *testing.T, url string, c conformance.Case) conformance.Answer {
	context, err := json.Marshal(c.Context)
	if err != nil {
		t.Fatal(err)
	}
	out, code := command(t, "eval", c.Flag, "--source", url, "--context", string(context), "--log-level", "error")
	if wantError := c.Want.ErrorCode != ""; (code != 0) != wantError {
		t.Errorf("the exit code is %d", code)
	}
	var a conformance.Answer
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatalf("the answer %q: %v", out, err)
	}
	return a
}

// changes changes a flag, a tier and the policy, and asks after each.
func (p *program) changes(t *testing.T) {
	ask := func(flag, user, want string) {
		t.Helper()
		if _, got := p.ask(t, flag, map[string]any{"targetingKey": user}); value(got, "variant") != want {
			t.Errorf("%s for %s is %v, want %s", flag, user, got, want)
		}
	}
	send := func(method, path, body string, want int) {
		t.Helper()
		if status, got := p.admin(t, method, path, body); status != want {
			t.Fatalf("%s %s answers %d: %v", method, path, status, got)
		}
	}
	ask("api-access", "carol", "off")
	send(http.MethodPatch, "/api/features/api-access", `{"rules": {"tiers": ["free", "pro", "enterprise"]}}`, 200)
	ask("api-access", "carol", "on")

	// Pro becomes the lowest tier, so that users nobody knows are on it.
	send(http.MethodPatch, "/api/tiers/pro", `{"rank": -5}`, 200)
	ask("model-training", "mallory", "on")
	send(http.MethodPatch, "/api/tiers/pro", `{"rank": 10}`, 200)
	ask("model-training", "mallory", "off")

	// A policy that everybody may do everything, then one that does not parse, then back.
	open := `{"modules": {"access.rego": "package tiergate.access\n\ndecision := {\"allow\": true, \"reason\": \"open house\"}\n"}}`
	send(http.MethodPost, "/api/policies", open, 201)
	ask("white-label", "carol", "on")
	status, got := p.admin(t, http.MethodPost, "/api/policies", `{"modules": {"access.rego": "package tiergate.access\n\ndecision := {{\n"}}`)
	if text, _ := json.Marshal(got); status != 422 || !strings.Contains(string(text), `"file":"access.rego"`) || !strings.Contains(string(text), `"row":`) {
		t.Errorf("a policy that does not parse is answered with %d: %s", status, text)
	}
	ask("white-label", "carol", "on")
	send(http.MethodPost, "/api/policies/rollback", `{"version": 0}`, 201)
	ask("white-label", "carol", "off")
}

// secondStart finds the data of the first, also after a kill that nobody could clean up after.
func secondStart(t *testing.T, dir string) {
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		p := launch(t, dir, "dev")
		p.waitReady(t)
		if _, got := p.ask(t, "api-access", map[string]any{"targetingKey": "carol"}); value(got, "variant") != "on" {
			t.Errorf("the change is lost: %v", got)
		}
		if code := p.stop(t, end); end == syscall.SIGINT && code != 0 {
			t.Errorf("after %v the exit code is %d", end, code)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "postgres", "data", "postmaster.pid")); err != nil || len(left) > 0 {
		t.Errorf("Postgres has not ended: %v, %v", left, err)
	}
}

// A port that is taken is one clear sentence, and nothing is left running.
func TestDev_says_which_port_is_taken(t *testing.T) {
	dir := dataDir(t)
	first := launch(t, dir, "dev", "--no-demo")
	first.waitReady(t)
	out, code := commandWithErr(t, "sidecar", "--source", "file:"+t.TempDir(), "--data-dir", filepath.Join(t.TempDir(), "d"),
		"--http-addr", first.http, "--ops-addr", "127.0.0.1:0")
	if code != 1 || !strings.Contains(out, first.http) || !strings.Contains(out, "--http-addr") || strings.Count(strings.TrimSpace(out), "\n") > 0 {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code := first.stop(t, os.Interrupt); code != 0 {
		t.Errorf("the exit code is %d", code)
	}
}
