package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/localpg"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

const forcedFlags = `insert into feature_flags (id, name, enabled, rules)
	select 'f' || n, 'flag-' || n, true, '{"tiers": [], "percentage": 100}' from generate_series(1, %d) n`

// losesNotifications makes the feed notify nobody, as if each notification were lost.
const losesNotifications = `do $$
	declare closes oid := (select oid from pg_proc where prosrc like '%perform pg_notify(%');
	begin execute replace(pg_get_functiondef(closes), 'perform pg_notify(', 'perform concat('); end $$`

// committed returns the URL of a database with so many flags, on a server that writes its
// log to the disk as a real one does.
func committed(b *testing.B, flags int) string {
	b.Helper()
	cluster, err := localpg.Start(b.Context(), localpg.Config{Dir: pgtest.Folder(b)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cluster.Close() })
	url := cluster.URL("tiergate")
	if err := postgres.CreateDatabase(b.Context(), cluster.URL("postgres"), "tiergate"); err != nil {
		b.Fatal(err)
	}
	if err := postgres.Migrate(b.Context(), url, postgres.MigrateOptions{}); err != nil {
		b.Fatal(err)
	}
	pgtest.Exec(b, url, fmt.Sprintf(forcedFlags, flags), "vacuum analyze")
	return url
}

// following returns a replica that has the state of a database in force, and follows it
// until the benchmark ends.
func following(b *testing.B, url string) *replica {
	b.Helper()
	r, err := newReplica(url, replicaOptions{}, b.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = r.run(ctx) })
	b.Cleanup(func() { stop(); running.Wait() })
	<-r.syncer.Ready()
	return r
}

// notified sends the time of each notification of the feed that a session gets: nothing
// that hears of a commit from Postgres can be faster.
func notified(b *testing.B, url string) <-chan time.Time {
	b.Helper()
	came := make(chan time.Time, 1)
	conn := pgtest.Connect(b, url)
	if _, err := conn.Exec(b.Context(), "listen tiergate_feed"); err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	go func() {
		for {
			if _, err := conn.WaitForNotification(ctx); err != nil {
				return
			}
			came <- time.Now()
		}
	}()
	return came
}

// From asking for a commit in one session to the moment from which decisions are made by
// it, beside the floor; and the same when each notification is lost. ns/op means nothing.
func BenchmarkCommit_to_in_force(b *testing.B) {
	for _, c := range []struct {
		name  string
		flags int
		lost  bool
	}{{"flags=10", 10, false}, {"flags=10000", 10_000, false}, {"notifications=lost", 10, true}} {
		b.Run(c.name, func(b *testing.B) {
			url := committed(b, c.flags)
			floor := notified(b, url)
			if c.lost {
				pgtest.Exec(b, url, losesNotifications)
			}
			r, writer := following(b, url), pgtest.Connect(b, url)
			exec := func(sql string) {
				if _, err := writer.Exec(b.Context(), sql); err != nil {
					b.Fatal(err)
				}
			}
			enabled := true
			var forced, heard []time.Duration
			for b.Loop() {
				next := r.engine.Generation().Resume()
				next.Rev++
				inForce := make(chan time.Time, 1)
				go func() {
					if err := r.syncer.Wait(b.Context(), next); err == nil {
						inForce <- time.Now()
					}
				}()
				enabled = !enabled
				exec(fmt.Sprintf("begin; update feature_flags set enabled = %v where id = 'f7'", enabled))
				asked := time.Now()
				exec("commit")
				forced = append(forced, (<-inForce).Sub(asked))
				decided := r.engine.Generation().Decide(&tiergate.Request{Flag: "flag-7", UserID: "u", Now: time.Now()})
				if on := decided.Reason != tiergate.ReasonDisabled; on != enabled {
					b.Fatalf("what is in force decides %+v", decided)
				}
				if !c.lost {
					heard = append(heard, (<-floor).Sub(asked))
				}
			}
			report(b, "in-force", forced)
			report(b, "floor", heard)
		})
	}
}

// report reports the median, the 99th percentile and the worst of some times.
func report(b *testing.B, name string, times []time.Duration) {
	if len(times) == 0 {
		return
	}
	slices.Sort(times)
	for suffix, i := range map[string]int{"p50": len(times) / 2, "p99": len(times) * 99 / 100, "max": len(times) - 1} {
		b.ReportMetric(float64(times[i].Microseconds()), strings.Join([]string{name, suffix, "µs"}, "-"))
	}
}
