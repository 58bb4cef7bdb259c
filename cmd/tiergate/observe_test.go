package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const brokenFlag = `{"flags": {
	"good": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"},
	"broken": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on", "targeting": {"no_such_operator": []}}
}}`

// A quarantined flag is named in the metrics and in the status for as long as it is
// broken, beside what the policy does.
func TestSidecar_names_a_quarantined_flag(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "flags.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(brokenFlag)
	p := launch(t, dataDir(t), "sidecar", "--source", "file:"+dir)
	p.waitReady(t)
	if status, got := p.ask(t, "good", map[string]any{"targetingKey": "u"}); status != 200 {
		t.Errorf("the good flag is answered with %d: %v", status, got)
	}
	metrics := p.get("/metrics")
	for _, line := range []string{
		`tiergate_evaluator_quarantined_flag{flag="broken",set="default"} 1`,
		"tiergate_evaluator_quarantined_flags 1",
		"tiergate_policy_evaluations_total ",
		"tiergate_policy_cache_bytes ",
		`tiergate_server_requests_total{door="ofrep",outcome="ok"} 1`,
	} {
		if !strings.Contains(metrics, "\n"+line) {
			t.Errorf("the metrics have no line %s", line)
		}
	}
	if status := p.get("/status"); !strings.Contains(status, `"quarantined":[{"set":"default","flag":"broken","error":"`) {
		t.Errorf("the status is %s", status)
	}
	write(strings.ReplaceAll(brokenFlag, "no_such_operator", "if"))
	p.eventually(t, "nothing is quarantined", func() bool {
		metrics := p.get("/metrics")
		return strings.Contains(metrics, "\ntiergate_evaluator_quarantined_flags 0") && !strings.Contains(metrics, `flag="broken"`)
	})
}

// The admin role has the same door for whoever runs it.
func TestAdmin_can_be_watched(t *testing.T) {
	d := seeded(t)
	p := launch(t, dataDir(t), "admin", "--database", d.url())
	p.waitReady(t)
	if status, got := p.admin(t, "GET", "/api/tiers", ""); status != 200 {
		t.Errorf("the admin API answers %d: %v", status, got)
	}
	if status, _ := p.admin(t, "GET", "/api/features/nothing", ""); status != 404 {
		t.Errorf("a feature that is not there is answered with %d", status)
	}
	if status, _ := p.admin(t, "GET", "/api/nothing", ""); status != 404 {
		t.Errorf("a path that is not there is answered with %d", status)
	}
	if status, _ := p.admin(t, "BREW", "/api/tiers", ""); status != 501 {
		t.Errorf("a method that is not there is answered with %d", status)
	}
	metrics := p.get("/metrics")
	for _, line := range []string{
		"tiergate_sync_connected 1",
		`tiergate_admin_requests_total{operation="listTiers",status="200"} 1`,
		`tiergate_admin_requests_total{operation="getFeature",status="404"} 1`,
		`tiergate_admin_requests_total{operation="other",status="404"} 1`,
		`tiergate_admin_requests_total{operation="other",status="501"} 1`,
	} {
		if !strings.Contains(metrics, "\n"+line+"\n") {
			t.Errorf("the metrics have no line %s", line)
		}
	}
	if status := p.get("/status"); !strings.Contains(status, `{"name":"admin","addr":"`+p.adm+`","tls":false}`) {
		t.Errorf("the status is %s", status)
	}
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the exit code is %d", code)
	}
}

// A policy that gives no usable answer is counted by entry point, and its failure stands in
// the status with its place.
func TestSidecar_tells_of_a_failing_policy(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"flags.json":  `{"flags": {"good": {"state": "ENABLED", "variants": {"on": true}, "defaultVariant": "on"}}}`,
		"access.rego": "package tiergate.access\n\ndecision := {\"allow\": true, \"reason\": \"open\"} if not input.attributes.plan == \"tin\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := launch(t, dataDir(t), "sidecar", "--source", "file:"+dir)
	p.waitReady(t)
	for plan, want := range map[string]int{"gold": 200, "tin": 400} {
		if status, got := p.ask(t, "good", map[string]any{"targetingKey": "u", "plan": plan}); status != want {
			t.Errorf("plan %s is answered with %d: %v", plan, status, got)
		}
	}
	if metrics, line := p.get("/metrics"), `tiergate_policy_failures_total{entry_point="data.tiergate.access.decision"} 1`; !strings.Contains(metrics, "\n"+line+"\n") {
		t.Errorf("the metrics have no line %s", line)
	}
	if status := p.get("/status"); !strings.Contains(status, `"problems":["the policy gave no usable answer (1 time, last at `) ||
		!strings.Contains(status, "access.rego:3:1: data.tiergate.access.decision: ") {
		t.Errorf("the status is %s", status)
	}
}
