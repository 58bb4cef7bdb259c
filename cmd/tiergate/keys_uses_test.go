package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tiergate/tiergate"
)

// With --auth keys a use is charged to the key's team, whatever the request says; a key that
// may only evaluate may look, and another team's reservation does not exist.
func TestSidecar_charges_the_team_of_the_key(t *testing.T) {
	globexText, globex := mint("globex")
	acmeText, acme := mint("acme")
	looksText, looks := mint("globex")
	globex.Scopes, acme.Scopes, looks.Scopes = []string{"consume"}, []string{"consume"}, []string{"evaluate"}
	p := launch(t, dataDir(t), "sidecar", "--source", seeded(t, tiergate.PutOf(globex), tiergate.PutOf(acme), tiergate.PutOf(looks)).url(), "--auth", "keys")
	p.waitReady(t)
	post := func(key, path, body string) (int, map[string]any) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.http+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return p.do(t, req, "Authorization", "Bearer "+key, "Content-Type", "application/json")
	}
	const ofAcme = `{"feature": "model-training", "subject": {"team": "acme"}, "cost": 5}`
	var status int
	var got map[string]any
	p.eventually(t, "the ledger answers", func() bool { // which takes it a while the first time
		status, got = post(globexText, "/v1/consume", ofAcme)
		return value(got, "reason") != "UNAVAILABLE"
	})
	if status != 200 || value(got, "tier") != "pro" || value(got, "allow") != "true" {
		t.Fatalf("globex's five trainings: %d %v", status, got)
	}
	if status, got := post(looksText, "/v1/check", ofAcme); status != 200 || value(got, "reason") != "EXHAUSTED" {
		t.Errorf("globex has none left: %d %v", status, got)
	}
	if status, got := post(looksText, "/v1/consume", ofAcme); status != 403 || value(got, "code") != "forbidden" {
		t.Errorf("a key that may only evaluate consumes: %d %v", status, got)
	}
	const job = `{"id": "job", "feature": "model-training", "subject": {}}`
	for _, replayed := range []string{"", "true"} {
		if status, got := post(acmeText, "/v1/reservations", job); status != 200 || value(got, "reservation", "state") != "HELD" || value(got, "replayed") != replayed {
			t.Fatalf("acme reserves: %d %v, want replayed %q", status, got, replayed)
		}
	}
	if status, got := post(globexText, "/v1/reservations/job/commit", `{}`); status != 404 {
		t.Errorf("globex commits acme's reservation: %d %v", status, got)
	}
	if status, got := post(acmeText, "/v1/reservations/job/commit", `{"actual": 1}`); status != 200 || value(got, "reservation", "state") != "COMMITTED" {
		t.Errorf("acme commits its own: %d %v", status, got)
	}
	if status, got := post(acmeText, "/v1/reservations", job); status != 409 || !strings.Contains(value(got, "detail"), "COMMITTED") {
		t.Errorf("acme asks for it again: %d %v", status, got)
	}
	if status, got := post(globexText, "/v1/reservations", `{"id": "job", "feature": "exports", "subject": {"user": "bob"}}`); status != 200 || value(got, "reservation", "state") != "HELD" {
		t.Errorf("globex takes the same id: %d %v", status, got)
	}
	if status, got := post(globexText, "/v1/reservations/job/release", ``); status != 200 || value(got, "reservation", "feature") != "exports" {
		t.Errorf("globex releases its own: %d %v", status, got)
	}
}
