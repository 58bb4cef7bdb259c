package postgres_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tiergate/tiergate/postgres/pgtest"
)

// A misspelt key in a flag's rules would open the flag to everybody, so it is refused.
func TestModel_refuses_rules_with_unknown_keys(t *testing.T) {
	conn := pgtest.Connect(t, pgtest.New(t))
	for rules, ok := range map[string]bool{`{"tiers": ["pro"]}`: true, `{}`: true, `{"tier": ["pro"]}`: false, `{"percentage": 5, "bogus": 1}`: false} {
		_, err := conn.Exec(t.Context(), `insert into feature_flags (name, rules) values ($1, $2::jsonb)`, rules, rules)
		e, refused := errors.AsType[*pgconn.PgError](err)
		if ok && err != nil || !ok && (!refused || e.Code != "23514") {
			t.Errorf("rules %s: %v", rules, err)
		}
	}
}
