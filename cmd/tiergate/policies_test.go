package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/policy"
)

// publish sends a policy of one module to the admin API, with more headers.
func (p *program) publish(t *testing.T, file, text string, header ...string) (int, map[string]any) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"modules": map[string]string{file: text}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.adm+"/api/policies", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	return p.do(t, req, append([]string{"Authorization", "Bearer " + adminToken, "Content-Type", "application/json"}, header...)...)
}

const openAccess = `package tiergate.access

decision := {"allow": true, "reason": "everybody"}
`

// A policy that cannot be used is refused with the place of what is wrong with it, and
// nothing is published; of many who publish the first one, one does.
func TestAdmin_publishes_policies(t *testing.T) {
	d := seeded(t)
	p := launch(t, dataDir(t), "admin", "--database", d.url())
	p.waitReady(t)
	for name, c := range map[string]struct {
		text     string
		row, col float64
		message  string
	}{
		"does not parse":      {"package tiergate.access\n\ndecision := := 1\n", 3, 13, "unexpected"},
		"does not type-check": {"package tiergate.access\n\ndecision := {\"allow\": 1 + \"a\" == 2, \"reason\": \"x\"}\n", 3, 23, "plus"},
		"is not admitted":     {"package tiergate.access\n\ndecision := {\"allow\": http.send({}).ok, \"reason\": \"x\"}\n", 3, 23, "http.send"},
		"gives no decision":   {"package tiergate.access\n\ndecision := 1\n", 3, 1, "object"},
		"takes too long":      {"package tiergate.access\n\ndecision := {\"allow\": count(x) > 0, \"reason\": \"slow\"} if {\n\tl := [1, 2, 3, 4, 5, 6, 7, 8, 9]\n\tx := [1 | some _ in l; some _ in l; some _ in l; some _ in l; some _ in l; some _ in l; some _ in l]\n}\n", 3, 1, "deadline"},
	} {
		status, got := p.publish(t, "rules/access.rego", c.text)
		problems, _ := got["problems"].([]any)
		if status != http.StatusUnprocessableEntity || len(problems) == 0 {
			t.Errorf("a policy that %s is answered with %d: %v", name, status, got)
			continue
		}
		spot, _ := problems[0].(map[string]any)
		if spot["file"] != "rules/access.rego" || spot["row"] != c.row || spot["col"] != c.col || !strings.Contains(value(spot, "message"), c.message) {
			t.Errorf("a policy that %s is refused at %v, want %v:%v %s", name, spot, c.row, c.col, c.message)
		}
		if !strings.Contains(value(got, "detail"), fmt.Sprintf("rules/access.rego:%v:%v: ", c.row, c.col)) {
			t.Errorf("a policy that %s is refused in the words %v", name, got["detail"])
		}
	}
	if status, got := p.admin(t, "GET", "/api/policies", ""); status != 200 || value(got, "version") != "0" {
		t.Errorf("after refusals the policy in force is %d: %v", status, got)
	}

	var wg sync.WaitGroup
	statuses := make(chan int, 8)
	for i := range cap(statuses) {
		wg.Go(func() {
			status, _ := p.publish(t, "access.rego", fmt.Sprint(openAccess, "# ", i, "\n"), "If-Match", `"0"`, "Idempotency-Key", fmt.Sprint(i))
			statuses <- status
		})
	}
	wg.Wait()
	close(statuses)
	count := map[int]int{}
	for status := range statuses {
		count[status]++
	}
	if count[http.StatusCreated] != 1 || count[http.StatusPreconditionFailed] != 7 {
		t.Errorf("8 first publications are answered with %v, want one 201 and 412 for the others", count)
	}
}

// A published policy that this program cannot use keeps everything from coming into force.
// Admins can then publish a better one all the same, or go back to the built-in one.
func TestAdmin_recovers_from_a_policy_that_cannot_be_used(t *testing.T) {
	modules := map[string]string{"access.rego": "package tiergate.access\n\ndecision := no_such_function(1)\n"}
	d := seeded(t, tiergate.PutOf(&tiergate.PolicyBundle{
		ID: "old", Modules: modules, Hash: tiergate.ModulesHash(modules), Admission: policy.AdmissionID(),
	}))
	t.Setenv("TIERGATE_VIEWER_TOKEN", "a-viewer")
	p := launch(t, dataDir(t), "admin", "--database", d.url())
	p.eventually(t, "it says that the policy cannot be used", func() bool { return strings.Contains(p.get("/status"), "no_such_function") })

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.adm+"/api/policies", nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, got := p.do(t, req, "Authorization", "Bearer a-viewer"); status != http.StatusServiceUnavailable {
		t.Errorf("a viewer is answered with %d: %v", status, got)
	}
	if status, got := p.admin(t, "GET", "/api/policies", ""); status != 200 || value(got, "version") != "1" {
		t.Errorf("an admin reads %d: %v", status, got)
	}
	if status, got := p.publish(t, "access.rego", openAccess, "If-Match", `"1"`); status != http.StatusCreated {
		t.Fatalf("an admin publishes with %d: %v", status, got)
	}
	p.waitReady(t)
	if status, got := p.do(t, req, "Authorization", "Bearer a-viewer"); status != 200 || value(got, "version") != "2" {
		t.Errorf("once a policy is in force a viewer is answered with %d: %v", status, got)
	}
}
