package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/demo"
	"github.com/tiergate/tiergate/internal/localpg"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// A database has the demo data, and is one of the cluster that all tests share or has a
// cluster of its own, which a test stops and starts again.
type database struct {
	shared  string // its URL in the shared cluster
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

func (d *database) url() string {
	if d.cluster == nil {
		return d.shared
	}
	return d.cluster.URL("tiergate")
}

// seeded returns a database with the demo data and more.
func seeded(t *testing.T, more ...tiergate.Change) *database {
	t.Helper()
	d := &database{shared: pgtest.New(t)}
	d.seed(t, more)
	return d
}

// seededApart returns a running cluster of the test's own with such a database.
func seededApart(t *testing.T, more ...tiergate.Change) *database {
	t.Helper()
	d := &database{dir: dataDir(t)}
	d.start(t)
	if err := postgres.CreateDatabase(t.Context(), d.cluster.URL("postgres"), "tiergate"); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Migrate(t.Context(), d.url(), postgres.MigrateOptions{}); err != nil {
		t.Fatal(err)
	}
	d.seed(t, more)
	return d
}

func (d *database) seed(t *testing.T, more []tiergate.Change) {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: d.url()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.SeedDemo(t.Context(), append(demo.Data(), more...)); err != nil {
		t.Fatal(err)
	}
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
	d := seededApart(t, tiergate.PutOf(goodKey), tiergate.PutOf(badKey))
	url, dir := d.url(), dataDir(t)
	run := func() *program {
		return launch(t, dir, "sidecar", "--source", url, "--auth", "keys", "--ready-max-age", "5s") // a busy machine confirms late
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

// A last-known-good state that is damaged, or whose key cannot be used, is named in the log
// and in the status and never served: while Postgres does not answer the sidecar is not
// ready, where Postgres is away it ends, and once Postgres is back it serves.
func TestSidecar_does_not_serve_a_damaged_state(t *testing.T) {
	d := seededApart(t)
	url := d.url()
	for what, c := range map[string]struct {
		harm func(dir string) error
		says string
	}{
		"damaged": {func(dir string) error {
			path := filepath.Join(dir, "last-known-good")
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text[len(text)/2] ^= 1
			return os.WriteFile(path, text, 0o600)
		}, "/last-known-good is not used: its signature does not fit"},
		"cut off": {
			func(dir string) error { return os.Truncate(filepath.Join(dir, "last-known-good"), 10) },
			"/last-known-good is not used: it breaks off",
		},
		"a key that others may read": {
			func(dir string) error { return os.Chmod(filepath.Join(dir, "last-known-good.key"), 0o644) },
			"/last-known-good.key is not used: its mode 0644 lets others at it",
		},
		"a key that is none": {
			func(dir string) error {
				return os.WriteFile(filepath.Join(dir, "last-known-good.key"), []byte("x"), 0o600)
			},
			"/last-known-good.key must hold 32 to 4096 bytes, and holds 1",
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := dataDir(t)
			p := launch(t, dir, "sidecar", "--source", url)
			p.waitReady(t)
			if code := p.stop(t, syscall.SIGTERM); code != 0 {
				t.Fatalf("the exit code is %d", code)
			}
			// The state before is good, and would be served.
			if err := errors.Join(os.RemoveAll(filepath.Join(dir, "last-known-good.previous")), c.harm(dir)); err != nil {
				t.Fatal(err)
			}
			d.unserved(t, dir, dir+c.says)
		})
	}
	d.stop(t)
	dir := dataDir(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := save(t, dir, "last-known-good", []byte("nonsense"))
	out, code := commandWithErr(t, "sidecar", "--source", url, "--data-dir", dir, "--http-addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0")
	if code != 1 || !strings.Contains(out, file+" is not used: ") || !strings.Contains(out, "\ntiergate: the database ") {
		t.Errorf("with Postgres away it ends with %d: %s", code, out)
	}
}

// unserved starts a sidecar on a data directory that is of no use: while Postgres hangs,
// until it goes on, and while it is away.
func (d *database) unserved(t *testing.T, dir, says string) {
	url := d.url()
	d.signal(t, syscall.SIGSTOP)
	p := launch(t, dir, "sidecar", "--source", url)
	p.eventually(t, "the status says "+says, func() bool { return strings.Contains(p.get("/status"), says) })
	p.eventually(t, "the log says it", func() bool { return strings.Contains(p.out.String(), says) })
	if ready := p.get("/readyz"); !strings.Contains(ready, `"ready":false`) {
		t.Errorf("it is ready: %s", ready)
	}
	if status, got := p.ask(t, "new-dashboard", nil); status != 503 || value(got, "value") != "" {
		t.Errorf("it answers with %d: %v", status, got)
	}
	d.signal(t, syscall.SIGCONT)
	p.waitReady(t)
	if status, got := p.ask(t, "new-dashboard", nil); status != 200 || value(got, "metadata", "stale") != "" {
		t.Errorf("once Postgres goes on it answers with %d: %v", status, got)
	}
	p.stop(t, syscall.SIGKILL)
}

// signal stops the server where it stands, or lets it go on.
func (d *database) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(d.cluster.Pid(), sig); err != nil {
		t.Fatal(err)
	}
	if sig == syscall.SIGSTOP { // whatever comes, the server must be able to end
		pid := d.cluster.Pid()
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	}
}
