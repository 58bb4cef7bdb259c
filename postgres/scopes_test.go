package postgres_test

import (
	"database/sql"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/migrations"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// migratedTo makes a database as the release with that migration left it.
func migratedTo(t *testing.T, version int64) string {
	t.Helper()
	url := pgtest.Empty(t)
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS, goose.WithTableName(migrations.Table), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	return url
}

// Keys from before scopes counted go on to evaluate. The change is a revision like any
// other, so that sidecars that follow learn of it, and says why.
func TestMigrate_gives_keys_without_scopes_the_scope_evaluate(t *testing.T) {
	url := migratedTo(t, 2)
	pgtest.Exec(t, url, `insert into tiers (key, name, rank) values ('free', 'Free', 0)`, `insert into users (id) values ('ada')`,
		`insert into teams (id, name, owner_id) values ('acme', 'Acme', 'ada')`,
		`insert into team_api_keys (id, team_id, hash, scopes) values ('old', 'acme', repeat('0', 64), default), ('new', 'acme', repeat('1', 64), '{training:work}')`)
	conn := pgtest.Connect(t, url)
	var before tiergate.Resume
	var hash []byte
	if err := conn.QueryRow(t.Context(), `select epoch::text, rev, hash, schema from feed_head`).Scan(&before.Epoch, &before.Rev, &hash, &before.Schema); err != nil {
		t.Fatal(err)
	}
	before.Hash = hex.EncodeToString(hash)

	if err := postgres.Migrate(t.Context(), url, postgres.MigrateOptions{SingleRole: true}); err != nil {
		t.Fatal(err)
	}
	l, _ := follow(t, cfgOf(url), before)
	got := byKey(l.next(t).changes)
	want := map[string]any{"key/old": &tiergate.Key{
		ID: "old", TeamID: "acme", Hash: strings.Repeat("0", 64), Scopes: []string{tiergate.ScopeEvaluate}, State: tiergate.KeyActive,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the revision of the migration mismatch (-want +got):\n%s", diff)
	}
	var actor, reason string
	if err := conn.QueryRow(t.Context(), `select actor, reason from revisions order by rev desc limit 1`).Scan(&actor, &reason); err != nil {
		t.Fatal(err)
	}
	if actor != "tiergate migrate" || reason == "" {
		t.Errorf("the revision is by %q because of %q", actor, reason)
	}
	if _, err := open(t, url).VerifyChain(t.Context()); err != nil {
		t.Error(err)
	}
}

// A key that is made without a word about scopes may evaluate; one that is made with none
// may do nothing, and stays so.
func TestModel_scopes_of_keys(t *testing.T) {
	url := pgtest.New(t)
	db := open(t, url)
	l, _ := follow(t, cfgOf(url), tiergate.Resume{})
	l.next(t)
	if _, err := db.SeedDemo(t.Context(), everything()); err != nil {
		t.Fatal(err)
	}
	l.next(t)
	pgtest.Exec(t, url, `insert into team_api_keys (id, team_id, hash, scopes) values ('none', 'acme', repeat('0', 64), '{}')`,
		`insert into team_api_keys (id, team_id, hash) values ('unsaid', 'acme', repeat('1', 64))`)
	for _, want := range []struct {
		id       string
		evaluate bool
	}{{"none", false}, {"unsaid", true}} {
		h := l.next(t)
		k, ok := h.changes[0].Put.(*tiergate.Key)
		if !ok || k.ID != want.id || k.Allows(tiergate.ScopeEvaluate) != want.evaluate {
			t.Errorf("revision %d holds %+v, want key %s that may evaluate: %t", h.Resume.Rev, h.changes[0].Put, want.id, want.evaluate)
		}
	}
}

// Whether a team is suspended, which its keys feel at once, reaches a replica as one
// revision, and so does the end of it.
func TestFeed_says_that_a_team_is_suspended(t *testing.T) {
	url := pgtest.New(t)
	if _, err := open(t, url).SeedDemo(t.Context(), everything()); err != nil {
		t.Fatal(err)
	}
	l, _ := follow(t, cfgOf(url), tiergate.Resume{})
	l.next(t)
	for _, status := range []string{"suspended", "active"} {
		pgtest.Exec(t, url, `update teams set status = '`+status+`' where id = 'acme'`)
		h := l.next(t)
		if team, ok := h.changes[0].Put.(*tiergate.Team); !ok || len(h.changes) != 1 || team.ID != "acme" || team.Status != status {
			t.Errorf("the revision holds %+v, want acme %s", h.changes, status)
		}
	}
}
