package postgres_test

import (
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// What was reserved before reservations had owners is held still, and is settled by whoever made
// it: a team where there are API keys, else everybody.
func TestMigrate_gives_reservations_an_owner(t *testing.T) {
	for owner, keys := range map[tiergate.Owner]string{
		"": "select", "acme": `insert into team_api_keys (id, team_id, hash) values ('key', 'acme', repeat('0', 64))`,
	} {
		url := migratedTo(t, 8)
		pgtest.Exec(t, url, `insert into tiers (key, name, rank) values ('free', 'Free', 0)`, `insert into users (id) values ('ada')`,
			`insert into teams (id, name, owner_id) values ('acme', 'Acme', 'ada')`, keys,
			`select reservation_reserve('job', 'acme', 'ada', 'training', 'f', null, '1 hour', '[{"limit": "jobs", "scope": "team", "subject": "acme",
				"period": "", "kind": "quota", "units": 3, "amount": 5, "rev": 1}]')`,
			`select reservation_reserve('over', 'acme', 'ada', 'training', 'f', null, '1 hour', '[]')`, `select reservation_release('over', 'acme')`)
		if err := postgres.Migrate(t.Context(), url, postgres.MigrateOptions{}); err != nil {
			t.Fatal(err)
		}
		l := openLedger(t, pgtest.As(t, url, "tiergate_sidecar"))
		r, err := l.Commit(t.Context(), "job", owner, 2, false)
		if err != nil || r.State != tiergate.ReservationCommitted || r.Owner != owner || r.TeamID != "acme" || len(r.Holds) != 1 || r.Holds[0].Units != 3 {
			t.Errorf("%q commits %+v, %v", owner, r, err)
		}
		again := tiergate.Reservation{ID: "over", Owner: owner, TeamID: "acme", Fingerprint: "f"}
		if _, err := l.Reserve(t.Context(), again, time.Minute); tiergate.CodeOf(err) != tiergate.Conflict {
			t.Errorf("%q asks again for one that was released: %v", owner, err)
		}
		left, err := l.Peek(t.Context(), []tiergate.LeaseAsk{{Bucket: tiergate.Bucket{Limit: "jobs", Scope: "team", Subject: "acme"}, Amount: 5}})
		if err != nil || left[0].Available != 3 || left[0].Outstanding != 0 {
			t.Errorf("left is %+v, %v", left, err)
		}
	}
}
