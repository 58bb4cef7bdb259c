package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/demo"
	"github.com/tiergate/tiergate/internal/localpg"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// A database is a cluster that a test stops and starts again.
type database struct {
	dir     string
	cluster *localpg.Cluster
}

func (d *database) start(t *testing.T) {
	t.Helper()
	var err error
	if d.cluster, err = localpg.Start(t.Context(), localpg.Config{Dir: d.dir, Settings: map[string]string{"fsync": "off"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cluster.Close() })
}

func (d *database) stop(t *testing.T) {
	t.Helper()
	if err := d.cluster.Close(); err != nil {
		t.Fatal(err)
	}
}

func (d *database) url() string { return d.cluster.URL("tiergate") }

// seeded returns a running database with the demo data and more.
func seeded(t *testing.T, more ...tiergate.Change) *database {
	t.Helper()
	d := &database{dir: dataDir(t)}
	d.start(t)
	if err := postgres.CreateDatabase(t.Context(), d.cluster.URL("postgres"), "tiergate"); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Migrate(t.Context(), d.url(), postgres.MigrateOptions{}); err != nil {
		t.Fatal(err)
	}
	db, err := postgres.Open(t.Context(), postgres.Config{URL: d.url()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.SeedDemo(t.Context(), append(demo.Data(), more...)); err != nil {
		t.Fatal(err)
	}
	return d
}

// mint makes a key of a team that may evaluate, and its text.
func mint(team string) (string, *tiergate.Key) {
	text, id, hash := tiergate.MintKey("test")
	return text, &tiergate.Key{
		ID: id, TeamID: team, Hash: hash, Scopes: []string{tiergate.ScopeEvaluate}, State: tiergate.KeyActive,
	}
}

// Postgres goes away and comes back. The sidecar answers on and says that it is stale; a
// restart meanwhile serves the last-known-good state, in which a revoked key is revoked;
// once Postgres is back the sidecar catches up by itself.
func TestSidecar_outlives_Postgres(t *testing.T) {
	good, goodKey := mint("globex")
	bad, badKey := mint("acme")
	d := seeded(t, tiergate.PutOf(goodKey), tiergate.PutOf(badKey))
	url, dir := d.url(), dataDir(t)
	run := func() *program {
		return launch(t, dir, "sidecar", "--source", url, "--auth", "keys", "--ready-max-age", "1s")
	}
	ask := func(p *program, key string) (int, map[string]any) {
		return p.ask(t, "model-training", nil, "X-API-Key", key)
	}

	p := run()
	p.waitReady(t)
	for key, tier := range map[string]string{good: "pro", bad: "enterprise"} {
		if status, got := ask(p, key); status != 200 || value(got, "metadata", "tier") != tier || value(got, "metadata", "stale") != "" {
			t.Fatalf("a team's key is answered with %d: %v, want tier %s", status, got, tier)
		}
	}
	pgtest.Exec(t, url, "update team_api_keys set state = 'revoked' where id = '"+badKey.ID+"'")
	p.eventually(t, "the key is revoked", func() bool { status, _ := ask(p, bad); return status == 401 })

	d.stop(t)
	p.eventually(t, "it says that it is stale", func() bool { _, got := ask(p, good); return value(got, "metadata", "stale") == "true" })
	p.eventually(t, "it is not ready", func() bool { return strings.Contains(p.get("/readyz"), `"ready":false`) })
	if status, got := ask(p, good); status != 200 || value(got, "value") != "true" {
		t.Errorf("without Postgres the answer is %d: %v", status, got)
	}
	if !strings.Contains(p.get("/healthz"), "alive") {
		t.Error("without Postgres the sidecar is not healthy")
	}

	p.stop(t, syscall.SIGKILL)
	p = run()
	p.eventually(t, "it serves the last-known-good state", func() bool { return strings.Contains(p.get("/status"), `"last-known-good"`) })
	if status, got := ask(p, good); status != 200 || value(got, "metadata", "stale") != "true" || value(got, "metadata", "tier") != "pro" {
		t.Errorf("from the last-known-good state the answer is %d: %v", status, got)
	}
	if status, _ := ask(p, bad); status != 401 {
		t.Errorf("from the last-known-good state the revoked key is answered with %d", status)
	}

	d.start(t)
	pgtest.Exec(t, url, `update feature_flags set rules = '{"tiers": ["enterprise"], "percentage": 100}' where id = 'model-training'`)
	p.eventually(t, "it has caught up", func() bool { _, got := ask(p, good); return value(got, "variant") == "off" })
	p.waitReady(t)
	if status, _ := ask(p, bad); status != 401 {
		t.Errorf("after the catch-up the revoked key is answered with %d", status)
	}
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the exit code is %d", code)
	}
}

// A database that is not migrated, and a damaged last-known-good file, are each one clear sentence.
func TestSidecar_says_what_is_wrong_with_its_source(t *testing.T) {
	d := &database{dir: dataDir(t)}
	d.start(t)
	out, code := commandWithErr(t, "sidecar", "--source", d.cluster.URL("postgres"), "--data-dir", dataDir(t),
		"--http-addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0", "--log-level", "error")
	if code != 1 || !strings.Contains(out, "not migrated; run tiergate migrate") {
		t.Errorf("exit code %d: %s", code, out)
	}
	out, code = commandWithErr(t, "admin", "--database", d.cluster.URL("postgres"), "--admin-addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0", "--admin-token", "x")
	if code != 1 || !strings.Contains(out, "not migrated; run tiergate migrate") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// Flags of a flagd file are imported in one revision and answer as flagd would have it.
func TestImport_flagd(t *testing.T) {
	d := seeded(t)
	p := launch(t, dataDir(t), "sidecar", "--source", d.url())
	p.waitReady(t)
	out, code := command(t, "import", "flagd", "testdata/shop.flagd.json", "--database", d.url())
	if code != 0 || !strings.HasPrefix(out, "4 flags changed, 1 left out, revision ") {
		t.Fatalf("exit code %d: %s", code, out)
	}
	for flag, want := range map[string]string{"headerColor": "green", "fibAlgo": "binet", "isColorYellow": "on", "myIntFlag": "one"} {
		context := map[string]any{"targetingKey": "u", "email": "jane@faas.com", "color": "yellow"}
		p.eventually(t, flag+" is imported", func() bool { status, _ := p.ask(t, flag, context); return status == 200 })
		if _, got := p.ask(t, flag, context); value(got, "variant") != want {
			t.Errorf("%s is %v, want %s", flag, got, want)
		}
	}
}
