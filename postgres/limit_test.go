package postgres_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// Whoever writes limits past the program, by psql, is held to what the program can read:
// fallbacks and anchors are refused and accepted by both alike.
func TestModel_knows_fallbacks_and_anchors_as_the_program_does(t *testing.T) {
	conn := pgtest.Connect(t, pgtest.New(t))
	seen := map[bool]int{}
	for _, on := range []string{
		"", "deny", "allow", "allowUpTo(1)", "allowUpTo(9007199254740992)", "allowUpTo(9007199254740993)", "allowUpTo(0)", "allowUpTo(07)",
		"allowUpTo()", "allowUpTo(-1)", "allowUpTo(99999999999999999999)", "Deny", "allow\n", " allow",
	} {
		_, err := tiergate.ParseFallback(on)
		_, stored := conn.Exec(t.Context(), `insert into limits (key, feature, kind, on_unavailable) values (new_id(), 'f', 'gauge', $1)`, on)
		agree(t, "onUnavailable "+on, err, stored, seen)
	}
	for _, anchor := range []string{
		"", "2026-01-31", "2024-02-29", "2023-02-29", "1900-02-29", "2000-02-29", "0001-01-01", "0000-01-01", "9999-12-31T23:59:59", "2026-01-31T24:00:00",
		"2026-01-31T15:00", "2026-04-31", "2026-13-01", "26-01-01", "2026-1-1", "2026-01-31T15:00:60", "2026-01-31\n", "2026-01-31T15:00:00Z",
	} {
		err := (&tiergate.Limit{Key: "k", Feature: "f", Kind: tiergate.Quota, Scope: "team", Period: "day", Anchor: anchor}).Validate()
		_, stored := conn.Exec(t.Context(), `insert into limits (key, feature, kind, period, anchor) values (new_id(), 'f', 'quota', 'day', $1)`, anchor)
		agree(t, "anchor "+anchor, err, stored, seen)
	}
	if seen[true] < 9 || seen[false] < 15 {
		t.Errorf("%d were accepted and %d refused: the test has lost its cases", seen[true], seen[false])
	}
	_, err := conn.Exec(t.Context(), `insert into limits (key, feature, kind, period, anchor) values ('x', 'f', 'quota', 'lifetime', '2026-01-31')`)
	agree(t, "a lifetime with an anchor", (&tiergate.Limit{Key: "k", Feature: "f", Kind: tiergate.Quota, Scope: "team", Period: "lifetime", Anchor: "2026-01-31"}).Validate(), err, seen)
}

func agree(t *testing.T, what string, program, stored error, seen map[bool]int) {
	t.Helper()
	seen[stored == nil]++
	if pg, ok := errors.AsType[*pgconn.PgError](stored); stored != nil && (!ok || pg.Code != "23514") {
		t.Errorf("%q: %v, want a check's violation", what, stored)
	}
	if (program == nil) != (stored == nil) {
		t.Errorf("%q: the program says %v, the database %v", what, program, stored)
	}
}

// Fallbacks that were spelt another way are rewritten once, as a revision that sidecars follow.
func TestMigrate_spells_fallbacks_one_way(t *testing.T) {
	url := migratedTo(t, 3)
	conn := pgtest.Connect(t, url)
	for on := range spelt {
		if _, err := conn.Exec(t.Context(), `insert into limits (key, feature, kind, on_unavailable) values (new_id(), $1, 'gauge', $1)`, on); err != nil {
			t.Fatal(err)
		}
	}
	var rev int64
	if err := conn.QueryRow(t.Context(), `select rev from feed_head`).Scan(&rev); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Migrate(t.Context(), url, postgres.MigrateOptions{SingleRole: true}); err != nil {
		t.Fatal(err)
	}
	limits, err := open(t, url).Limits(t.Context(), "", tiergate.Page{})
	if err != nil || len(limits.Items) != len(spelt) {
		t.Fatalf("%d limits, %v", len(limits.Items), err)
	}
	for _, l := range limits.Items {
		if l.OnUnavailable != spelt[l.Feature] || l.Anchor != "" {
			t.Errorf("%q became %q", l.Feature, l.OnUnavailable)
		}
	}
	var head, changes int64
	var reason string
	err = conn.QueryRow(t.Context(), `select h.rev, r.changes, r.reason from feed_head h join revisions r using (rev)`).Scan(&head, &changes, &reason)
	if err != nil || head != rev+1 || changes != 3 || reason != "a fallback has one spelling" {
		t.Errorf("revision %d after %d with %d changes, because %q; %v", head, rev, changes, reason, err)
	}
}

// spelt are fallbacks as the schema let them be, and what they mean.
var spelt = map[string]string{
	"deny": "deny", "allow": "allow", "allowUpTo(10)": "allowUpTo(10)", "allowUpTo(010)": "allowUpTo(10)", "allowUpTo(0)": "deny", "allowUpTo(000)": "deny",
}
