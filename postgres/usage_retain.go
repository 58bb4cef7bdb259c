package postgres

import (
	"context"
	"time"
)

// A Retention says how long what grows with usage is kept. What is zero has its default.
type Retention struct {
	Events   time.Duration // single events, whole months: 400 days
	Sums     time.Duration // what was used and denied, by hour and day: 800 days
	Keys     time.Duration // idempotency keys of usage: 40 days; never less than 35
	Batches  time.Duration // what was taken in from which log: 35 days
	Settled  time.Duration // reservations that are settled: 90 days
	Buckets  time.Duration // buckets of periods that are over, with what was forfeited in them, and empty ones: 400 days
	Holders  time.Duration // that a process was retired, or is lost and has nothing: 400 days
	Months   int           // how many months of tables are made ahead: 2
	maxChunk int64
}

const (
	day     = 24 * time.Hour
	minKeys = 35 * day
)

func (r Retention) withDefaults() Retention {
	for field, d := range map[*time.Duration]time.Duration{
		&r.Events: 400 * day, &r.Sums: 800 * day, &r.Keys: 40 * day, &r.Batches: 35 * day, &r.Settled: 90 * day, &r.Buckets: 400 * day, &r.Holders: 400 * day,
	} {
		if *field == 0 {
			*field = d
		}
	}
	r.Keys = max(r.Keys, minKeys)
	if r.Months == 0 {
		r.Months = 2
	}
	if r.maxChunk == 0 {
		r.maxChunk = 10_000
	}
	return r
}

// Retained is what was made and taken out.
type Retained struct{ Made, Dropped, Rows int64 }

var monthly = []string{"usage_analytics", "usage_hourly", "denials_hourly"}

// Retain makes the tables of the coming months and takes out what is older than a policy
// says, a bounded number of rows at a time; it goes on until nothing is left or ctx ends.
// Run it once a day; when nobody does, nothing is lost: what belongs to no month is kept
// apart, and moved when its month is made. It can run anywhere, also several times at once.
func (db *DB) Retain(ctx context.Context, policy Retention) (Retained, error) {
	r := policy.withDefaults()
	now := time.Now().UTC()
	var out Retained
	for _, table := range monthly {
		for m := range r.Months + 1 {
			month := time.Date(now.Year(), now.Month()+time.Month(m), 1, 0, 0, 0, 0, time.UTC)
			var made bool
			if err := db.pool.QueryRow(ctx, `select usage_partition($1, $2)`, table, month).Scan(&made); err != nil {
				return out, wrap(err, "make a month of %s", table)
			}
			if made {
				out.Made++
			}
		}
		keep := r.Sums
		if table == "usage_analytics" {
			keep = r.Events
		}
		if err := db.drop(ctx, table, now.Add(-keep), r.maxChunk, &out); err != nil {
			return out, err
		}
	}
	for _, old := range []struct {
		table string
		keep  time.Duration
	}{
		{"usage_keys", r.Keys},
		{"usage_batches", r.Batches},
		{"team_usage", r.Sums},
		{"reservations", r.Settled},
		{"buckets", r.Buckets}, // before the holders that had something of them
		{"holders", r.Holders},
	} {
		if err := db.forget(ctx, old.table, now.Add(-old.keep), r.maxChunk, &out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// drop takes out the months of a table that ended before a time.
func (db *DB) drop(ctx context.Context, table string, before time.Time, chunk int64, out *Retained) error {
	for rows := chunk; rows >= chunk; {
		var partitions int64
		err := db.pool.QueryRow(ctx, `select o_partitions, o_rows from usage_drop($1, $2, $3)`, table, before, chunk).Scan(&partitions, &rows)
		if err != nil {
			return wrap(err, "drop old months of %s", table)
		}
		out.Dropped += partitions
		out.Rows += rows
	}
	return nil
}

// forget deletes what is older of a table that has no months.
func (db *DB) forget(ctx context.Context, table string, before time.Time, chunk int64, out *Retained) error {
	for rows := chunk; rows >= chunk; {
		if err := db.pool.QueryRow(ctx, `select usage_forget($1, $2, $3)`, table, before, chunk).Scan(&rows); err != nil {
			return wrap(err, "delete what is old of %s", table)
		}
		out.Rows += rows
	}
	return nil
}
