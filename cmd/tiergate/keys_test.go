package main

import (
	"strings"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// With --auth keys only a valid key of an active team that may evaluate gets an answer,
// however it is presented; the team is the key's whatever the context says; and a team
// that is suspended is refused from then on.
func TestSidecar_asks_for_keys(t *testing.T) {
	keys, texts := map[string]*tiergate.Key{}, map[string]string{}
	var changes []tiergate.Change
	for _, name := range []string{"good", "scopeless", "for usage", "expired", "revoked", "another secret"} {
		texts[name], keys[name] = mint("globex")
	}
	keys["scopeless"].Scopes = []string{}
	keys["for usage"].Scopes = []string{"usage", "Evaluate"}
	keys["expired"].ExpiresAt = time.Now().Add(-time.Hour)
	keys["revoked"].State = tiergate.KeyRevoked
	keys["another secret"].Hash = strings.Repeat("0", 64)
	for _, key := range keys {
		changes = append(changes, tiergate.PutOf(key))
	}
	texts["unknown"], _ = mint("globex")
	texts["mistyped"] = strings.Replace(texts["good"], "tg_test_", "tg_tesk_", 1)
	d := seeded(t, changes...)
	p := launch(t, dataDir(t), "sidecar", "--source", d.url(), "--auth", "keys")
	p.waitReady(t)
	ask := func(header ...string) (int, map[string]any) {
		return p.ask(t, "model-training", map[string]any{"teamId": "initech"}, header...)
	}

	for _, header := range [][]string{
		{"X-API-Key", texts["good"]}, {"Authorization", "Bearer " + texts["good"]}, {"authorization", "bearer " + texts["good"]},
	} {
		if status, got := ask(header...); status != 200 || value(got, "metadata", "tier") != "pro" {
			t.Errorf("%s is answered with %d: %v", header[0], status, got)
		}
	}
	for name, want := range map[string]int{
		"scopeless": 403, "for usage": 403, "expired": 401, "revoked": 401, "unknown": 401, "mistyped": 401, "another secret": 401,
	} {
		status, got := ask("X-API-Key", texts[name])
		if status != want || value(got, "errorCode") != "GENERAL" || value(got, "value") != "" {
			t.Errorf("a key that is %s is answered with %d: %v", name, status, got)
		}
		if want == 403 && value(got, "errorDetails") != `the API key does not have the scope "evaluate"` {
			t.Errorf("a key that is %s is told %v", name, got)
		}
	}
	if status, _ := ask(); status != 401 {
		t.Errorf("without a key the answer is %d", status)
	}

	pgtest.Exec(t, d.url(), "update teams set status = 'suspended' where id = 'globex'")
	p.eventually(t, "the team's key is refused", func() bool {
		status, got := ask("X-API-Key", texts["good"])
		return status == 403 && value(got, "errorDetails") == "the API key's team is suspended"
	})
	pgtest.Exec(t, d.url(), "update teams set status = 'active' where id = 'globex'")
	p.eventually(t, "the team's key opens again", func() bool { status, _ := ask("X-API-Key", texts["good"]); return status == 200 })

	// A policy that cannot be used keeps the state before it in force, but no key alive.
	pgtest.Exec(t, d.url(), `insert into policy_bundles (id, modules, hash, admission) values ('bad', '{"a.rego": "package tiergate.access\n\nallow := nothing"}', repeat('0', 64), 'x')`)
	p.eventually(t, "the policy is refused", func() bool { return strings.Contains(p.get("/status"), "not those that were admitted") })
	pgtest.Exec(t, d.url(), "update team_api_keys set state = 'revoked' where id = '"+keys["good"].ID+"'")
	p.eventually(t, "the key is revoked", func() bool { status, _ := ask("X-API-Key", texts["good"]); return status == 401 })
}
