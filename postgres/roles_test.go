package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

func cfgOf(url string) postgres.Config { return postgres.Config{URL: url} }

// The whole matrix of what the two roles may do with each table and view.
func TestRoles_matrix(t *testing.T) {
	url := pgtest.New(t)
	conn := pgtest.Connect(t, url)
	const readWrite, readInsert, read = "SELECT INSERT UPDATE DELETE", "SELECT INSERT", "SELECT"
	admin := map[string]string{
		"users": readWrite, "tiers": readWrite, "limits": readWrite, "teams": readWrite, "team_members": readWrite, "team_api_keys": readWrite,
		"flag_sets": readWrite, "feature_flags": readWrite, "overrides": readWrite, "grants": readWrite, "idempotency_keys": readWrite,
		"policy_bundles": readInsert, "feed_head": read, "revisions": read, "change_log": read, "schema_migrations": read,
	}
	for _, table := range []string{
		"ledger_state", "holders", "buckets", "leases", "rate_shares", "usage_logs", "usage_batches", "usage_keys", "usage_analytics", "usage_hourly",
		"denials_hourly", "team_usage", "reservations", "reservation_holds", "gauge_items", "reconciliations",
	} {
		admin[table] = read
	}
	sidecar := map[string]string{"feed_head": read, "change_log": read, "schema_migrations": read}
	for _, kind := range []string{"flag_set", "tier", "limit", "flag", "user", "team", "member", "key", "override", "grant", "policy"} {
		admin["replica_"+kind], sidecar["replica_"+kind] = read, read
	}
	rows, err := conn.Query(t.Context(), `
		select c.relname, r.rolname, coalesce(string_agg(p, ' ' order by n) filter (where has_table_privilege(r.oid, c.oid, p)), '')
		from pg_class c, pg_roles r, unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) with ordinality x (p, n)
		where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'p') and not c.relispartition and r.rolname in ('tiergate_admin', 'tiergate_sidecar')
		group by 1, 2`)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for rows.Next() {
		var table, role, got string
		if err := rows.Scan(&table, &role, &got); err != nil {
			t.Fatal(err)
		}
		seen++
		want := sidecar[table]
		if role == "tiergate_admin" {
			want = admin[table]
		}
		if got != want {
			t.Errorf("%s on %s: %q, want %q", role, table, got, want)
		}
	}
	if err := rows.Err(); err != nil || seen != 2*len(admin) {
		t.Errorf("the matrix has %d fields, want %d (%v)", seen, 2*len(admin), err)
	}
}

// A sidecar's role follows the feed and can do nothing else: each try fails for want of
// the right, not for another reason.
func TestRoles_sidecar(t *testing.T) {
	url := pgtest.New(t)
	if _, err := open(t, url).SeedDemo(t.Context(), everything()); err != nil {
		t.Fatal(err)
	}
	sidecar := pgtest.As(t, url, "tiergate_sidecar")
	l, _ := follow(t, cfgOf(sidecar), tiergate.Resume{})
	if whole := l.next(t); len(whole.changes) != len(everything())+1 {
		t.Errorf("a sidecar sees %d things, want %d", len(whole.changes), len(everything())+1)
	}
	pgtest.Exec(t, url, `update tiers set name = 'new' where key = 'free'`)
	if h := l.next(t); h.Resume.Rev != 3 {
		t.Errorf("a sidecar got revision %d, want 3", h.Resume.Rev)
	}
	conn := pgtest.Connect(t, sidecar)
	for _, try := range []string{
		`select email from users`, `select * from teams`, `select * from team_api_keys`, `select actor from revisions`, `select * from idempotency_keys`,
		`update feature_flags set enabled = true`, `delete from feed_head`, `update feed_head set rev = 0`,
		`insert into change_log (rev, kind, key, op, schema) values (1, 'x', 'x', 'delete', 1)`,
		`select feed_lock()`, `select feed_append('tier', 'x', 'delete', null)`, `create table public.x ()`, `set role tiergate_owner`, `set role tiergate_admin`,
		`select * from buckets`, `select * from usage_analytics`, `select * from usage_analytics_default`, `update buckets set used = 0`, `delete from usage_keys`,
		`select ledger_reconcile('h', null, 'release', '', '')`, `select usage_drop('usage_hourly', now(), 1)`, `select usage_forget('usage_keys', now(), 1)`,
		`select usage_partition('usage_hourly', '2030-01-01')`, `select ledger_release('h')`, `select reservations_settle('{}', 'RELEASED', 0, now())`,
	} {
		_, err := conn.Exec(t.Context(), try)
		if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "42501" {
			t.Errorf("%s: %v, want insufficient privilege", try, err)
		}
	}
}

// The admin role changes the model, and nothing of the history; a session that says no
// scope sees no tenant, and one of a team only that team.
func TestRoles_admin(t *testing.T) {
	url := pgtest.New(t)
	admin := pgtest.As(t, url, "tiergate_admin")
	db := open(t, admin)
	if _, err := db.SeedDemo(t.Context(), everything()); err != nil {
		t.Fatal(err)
	}
	if made, err := db.CreateFlag(t.Context(), boolFlag("a"), clerk); err != nil || made.Resume.Rev != 3 {
		t.Fatalf("CreateFlag = %+v, %v", made, err)
	}
	if _, err := db.VerifyChain(t.Context()); err != nil {
		t.Error(err)
	}
	conn := pgtest.Connect(t, admin)
	for _, try := range []string{
		`update feed_head set rev = 0`, `delete from change_log`, `update revisions set actor = ''`, `truncate users cascade`,
		`update policy_bundles set comment = 'x'`, `select feed_append('tier', 'x', 'delete', null)`, `alter table users disable row level security`,
	} {
		_, err := conn.Exec(t.Context(), try)
		if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "42501" {
			t.Errorf("%s: %v, want insufficient privilege", try, err)
		}
	}
	for scope, want := range map[string]int{"": 0, "team:acme": 4, "team:ghost": 0, "team:": 0, "platform": 6} {
		var got int
		if _, err := conn.Exec(t.Context(), `select set_config('tiergate.scope', $1, false)`, scope); err != nil {
			t.Fatal(err)
		}
		err := conn.QueryRow(t.Context(), `select (select count(*) from teams) + (select count(*) from team_members) + (select count(*) from team_api_keys)
			+ (select count(*) from users) + (select count(*) from grants)`).Scan(&got)
		if err != nil || got != want {
			t.Errorf("scope %q sees %d rows, want %d (%v)", scope, got, want, err)
		}
	}
}

// Migrating again changes nothing; a single role works without the others; what is wrong
// with a database is one sentence.
func TestMigrate_and_Check(t *testing.T) {
	url := pgtest.Empty(t)
	err := postgres.Check(t.Context(), cfgOf(url))
	if !errors.Is(err, postgres.ErrNotMigrated) || !strings.Contains(err.Error(), "tiergate migrate") {
		t.Errorf("Check of an empty database: %v", err)
	}
	if _, err := postgres.Open(t.Context(), cfgOf(url)); !errors.Is(err, postgres.ErrNotMigrated) {
		t.Errorf("Open of an empty database: %v", err)
	}
	if err := postgres.NewFeed(cfgOf(url)).Follow(t.Context(), tiergate.Resume{}, newListener()); !errors.Is(err, postgres.ErrNotMigrated) {
		t.Errorf("Follow of an empty database: %v", err)
	}
	for range 2 {
		if err := postgres.Migrate(t.Context(), url, postgres.MigrateOptions{SingleRole: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := postgres.Check(t.Context(), cfgOf(url)); err != nil {
		t.Error(err)
	}
	if err := postgres.Migrate(t.Context(), url, postgres.MigrateOptions{AdminRole: `odd "admin`, SidecarRole: "odd_sidecar"}); err != nil {
		t.Errorf("roles with other names: %v", err)
	}
	pgtest.Exec(t, url, `drop owned by "odd ""admin", odd_sidecar; drop role "odd ""admin", odd_sidecar`)
	pgtest.Exec(t, url, `insert into schema_migrations (version_id, is_applied) values (999, true)`)
	for name, err := range map[string]error{
		"Check":   postgres.Check(t.Context(), cfgOf(url)),
		"Migrate": postgres.Migrate(t.Context(), url, postgres.MigrateOptions{SingleRole: true}),
	} {
		if !errors.Is(err, postgres.ErrTooNew) {
			t.Errorf("%s of a newer database: %v", name, err)
		}
	}
	away := postgres.Check(t.Context(), cfgOf("postgres://postgres@/x?host=/nowhere"))
	if tiergate.CodeOf(away) != tiergate.Unavailable || away.Error() != `the database "x" at /nowhere cannot be reached: no such file or directory` {
		t.Errorf("Check without a server: %v", away)
	}
	for name, err := range map[string]error{
		"Migrate": postgres.Migrate(t.Context(), "postgres://u:secret@127.0.0.1:1/x", postgres.MigrateOptions{}),
		"Check":   postgres.Check(t.Context(), cfgOf("postgres://u:secret@127.0.0.1:1/x")),
	} {
		if err == nil || err.Error() != `the database "x" at 127.0.0.1:1 cannot be reached: connection refused` {
			t.Errorf("%s where nobody listens: %v", name, err)
		}
	}
	if err := postgres.Check(t.Context(), cfgOf("postgres://user:secret@h:bad/x")); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("Check of a bad URL: %v", err)
	}
}
