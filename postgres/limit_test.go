package postgres_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tiergate/tiergate"
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
