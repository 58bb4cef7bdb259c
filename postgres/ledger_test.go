package postgres_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
	"github.com/tiergate/tiergate/quota/ledgertest"
)

// Every rule of a ledger, on Postgres as on memory.
func TestLedger_keeps_the_rules(t *testing.T) { ledgertest.Run(t, worldOf(t, ledgerURL(t))) }

// Random messages get the same answers from Postgres as from memory, and after each of them
// every bucket is the sum of what hangs on it.
func TestLedger_answers_as_memory_does(t *testing.T) {
	ledgertest.Machine(t, worldOf(t, ledgerURL(t)))
}

func openLedger(t testing.TB, url string) *postgres.Ledger {
	t.Helper()
	l, err := postgres.NewLedger(postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// poolOf reads what the ledger wrote. Compiling a query takes a second, and running it none.
func poolOf(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.RuntimeParams["jit"] = "off"
	db, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// worldOf makes a world of a database, whose functions for the time and the life of the server are
// replaced so that a test says both.
func worldOf(t testing.TB, url string) ledgertest.World {
	t.Helper()
	db := poolOf(t, url)
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := db.Exec(t.Context(), sql, args...); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	exec(`create table test_world (now timestamptz not null default now(), life int not null default 1);
		insert into test_world default values;
		grant select on test_world to public;
		create or replace function ledger_now() returns timestamptz language sql volatile as 'select now from test_world';
		create or replace function ledger_timeline() returns text language sql volatile as 'select life::text from test_world'`)
	return ledgertest.World{
		Ledger:   openLedger(t, pgtest.As(t, url, "tiergate_sidecar")),
		Set:      func(now time.Time) { t.Helper(); exec(`update test_world set now = $1`, now) },
		Failover: func() { t.Helper(); exec(`update test_world set life = life + 1`) },
		Reset: func() {
			t.Helper()
			exec(`delete from holders; delete from buckets; delete from leases; delete from rate_shares; delete from usage_logs;
				delete from usage_batches; delete from usage_keys; delete from usage_analytics; delete from usage_hourly; delete from denials_hourly;
				delete from team_usage; delete from reservations; delete from reservation_holds; delete from gauge_items; delete from reconciliations;
				update test_world set life = 1; update ledger_state set timeline = '1', learning_until = '-infinity'`)
		},
		Sums: func() []ledgertest.Sum { t.Helper(); return ledgerSums(t, db) },
	}
}

// ledgerSums reads what buckets keep beside what follows from usage, leases, reservations and items.
func ledgerSums(t testing.TB, db *pgxpool.Pool) []ledgertest.Sum {
	t.Helper()
	rows, err := db.Query(t.Context(), `
		select b.limit_key, b.scope, b.subject, b.period, b.amount, b.rev, b.used, b.leased, b.reserved, b.forfeited,
		  (select coalesce(sum((s ->> 'units')::bigint), 0) from usage_analytics u, jsonb_array_elements(u.spends) s
		    where s -> 'bucket' = jsonb_build_object('limit', b.limit_key, 'scope', b.scope, 'subject', b.subject, 'period', b.period))
		  + (select count(*) from gauge_items i where i.bucket = b.id)
		  + (select coalesce(sum(charged), 0) from leases l where l.bucket = b.id),
		  (select coalesce(sum(greatest(0, granted - reported)), 0) from leases l where l.bucket = b.id and l.state <> 'FORFEIT'),
		  (select coalesce(sum(h.units), 0) from reservation_holds h join reservations r on r.num = h.reservation and r.state = 'HELD' where h.bucket = b.id),
		  (select coalesce(sum(greatest(0, granted - reported)), 0) from leases l where l.bucket = b.id and l.state = 'FORFEIT')
		from buckets b`)
	if err != nil {
		t.Fatal(err)
	}
	sums, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s ledgertest.Sum, err error) {
		return s, row.Scan(&s.Bucket.Limit, &s.Bucket.Scope, &s.Bucket.Subject, &s.Bucket.Period, &s.Amount, &s.Rev,
			&s.Kept.Used, &s.Kept.Leased, &s.Kept.Reserved, &s.Kept.Forfeited,
			&s.Followed.Used, &s.Followed.Leased, &s.Followed.Reserved, &s.Followed.Forfeited)
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}
