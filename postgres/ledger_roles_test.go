package postgres_test

import (
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// A session of the admin role sees what counts for its team, operators see everything, and
// one that says no scope sees nothing.
func TestRoles_usage_in_scope(t *testing.T) {
	url := pgtest.New(t)
	l := openLedger(t, pgtest.As(t, url, "tiergate_sidecar"))
	batch := tiergate.UsageBatch{Log: "log", To: 1}
	for _, team := range []string{"acme", "globex"} {
		bucket := tiergate.Bucket{Limit: "l", Scope: "team", Subject: team}
		batch.Usage = append(batch.Usage, tiergate.Usage{ID: team, TeamID: team, Feature: "f", Units: 1, Events: 1, Spends: []tiergate.Spend{{Bucket: bucket, Holder: "h", Units: 1}}})
		batch.Denials = append(batch.Denials, tiergate.Denial{TeamID: team, Feature: "f", Reason: tiergate.UseTier, Count: 1})
		if _, err := l.Add(t.Context(), bucket, "item", 9, 1); err != nil {
			t.Fatal(err)
		}
		r := tiergate.Reservation{ID: team, TeamID: team, Holds: []tiergate.Hold{{Bucket: bucket, Kind: tiergate.Concurrency, Units: 1, Amount: 9, Rev: 1}}}
		if _, err := l.Reserve(t.Context(), r, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	batch.Usage[0].Key = &tiergate.UsageKey{Key: "k"}
	if _, err := l.Upload(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Exchange(t.Context(), tiergate.Exchange{Holder: "h", Token: "t", Rates: []tiergate.RateAsk{{Bucket: tiergate.Bucket{Limit: "r"}}}}); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, url, `insert into reconciliations (at, actor, reason, how, holder, limit_key, scope, subject, period, state, granted, reported, units)
		values (now(), '', '', 'release', '', '', '', '', '', '', 0, 0, 0)`)
	conn := pgtest.Connect(t, pgtest.As(t, url, "tiergate_admin"))
	team := map[string]int{
		"buckets": 1, "usage_analytics": 1, "usage_hourly": 1, "denials_hourly": 1, "team_usage": 1, "reservations": 1, "reservation_holds": 1, "gauge_items": 1,
		"ledger_state": 0, "holders": 0, "leases": 0, "rate_shares": 0, "usage_logs": 0, "usage_batches": 0, "usage_keys": 0, "reconciliations": 0,
	}
	platform := map[string]int{"buckets": 3, "ledger_state": 1, "holders": 1, "rate_shares": 1, "usage_logs": 1, "usage_batches": 1, "usage_keys": 1, "reconciliations": 1}
	for table, one := range team {
		whole, ok := platform[table]
		if !ok {
			whole = 2
		}
		for scope, want := range map[string]int{"": 0, "team:acme": one, "team:globex": one, "team:ghost": 0, "team:": 0, "platform": whole} {
			var got int
			if _, err := conn.Exec(t.Context(), `select set_config('tiergate.scope', $1, false)`, scope); err != nil {
				t.Fatal(err)
			}
			if err := conn.QueryRow(t.Context(), `select count(*) from `+table).Scan(&got); err != nil || got != want {
				t.Errorf("scope %q sees %d rows of %s, want %d (%v)", scope, got, table, want, err)
			}
		}
	}
}
