package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

const manyFlags = `insert into feature_flags (id, name, enabled, rules, metadata) select 'f' || n, 'flag-' || n, true,
	'{"tiers": ["pro"], "percentage": 50, "targeting": {"if": [{"==": [{"var": "country"}, "de"]}, "on", "off"]}}', '{"owner": "ada"}'
	from generate_series(1, %d) n`

// An instant is a follower that says when each revision came, read to its end.
type instant struct{ came chan time.Time }

func (i instant) Apply(_ context.Context, r tiergate.Revision) error {
	for _, err := range r.Changes {
		if err != nil {
			return err
		}
	}
	i.came <- time.Now()
	return nil
}

func (i instant) Confirm(time.Time) {}

// From asking for the commit in one session to the revision in a follower's hands, beside
// the floor: to the notification in a third session. ns/op is the whole round.
func BenchmarkFeed_commit_to_apply(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("flags=%d", n), func(b *testing.B) {
			url := pgtest.New(b)
			pgtest.Exec(b, url, fmt.Sprintf(manyFlags, n), "vacuum analyze")
			i := instant{make(chan time.Time, 1)}
			ctx, cancel := context.WithCancel(b.Context())
			ended := make(chan error, 1)
			go func() { ended <- postgres.NewFeed(postgres.Config{URL: url}).Follow(ctx, tiergate.Resume{}, i) }()
			<-i.came
			notified := make(chan time.Time, 1)
			floor := pgtest.Connect(b, url)
			if _, err := floor.Exec(ctx, "listen tiergate_feed"); err != nil {
				b.Fatal(err)
			}
			go func() {
				for {
					if _, err := floor.WaitForNotification(ctx); err != nil {
						return
					}
					notified <- time.Now()
				}
			}()
			writer := pgtest.Connect(b, url)
			var feed, bare, whole []time.Duration
			for b.Loop() {
				start, committed := commitOne(b, writer)
				feed = append(feed, (<-i.came).Sub(committed))
				bare = append(bare, (<-notified).Sub(committed))
				whole = append(whole, time.Since(start))
			}
			for name, times := range map[string][]time.Duration{"feed": feed, "floor": bare, "change": whole} {
				slices.Sort(times)
				b.ReportMetric(float64(times[len(times)/2].Microseconds()), name+"-p50-µs")
				b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), name+"-p99-µs")
			}
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				b.Error(err)
			}
		})
	}
}

// commitOne changes one flag, and returns when it began and when it asked for the commit.
func commitOne(b *testing.B, conn *pgx.Conn) (start, asked time.Time) {
	start = time.Now()
	if _, err := conn.Exec(b.Context(), "begin; update feature_flags set enabled = not enabled where id = 'f7'"); err != nil {
		b.Fatal(err)
	}
	asked = time.Now()
	if _, err := conn.Exec(b.Context(), "commit"); err != nil {
		b.Fatal(err)
	}
	return start, asked
}

// Reading the whole state of 100,000 flags, decoded and thrown away.
func BenchmarkFeed_snapshot(b *testing.B) {
	for name, fill := range map[string]string{
		"flags=100000": fmt.Sprintf(manyFlags, 100_000),
		"users=100000": `insert into tiers (key, name, rank) values ('free', 'Free', 0);
			insert into users (id, attributes) select 'user-' || n, '{"country": "de"}' from generate_series(1, 100000) n`,
	} {
		b.Run(name, func(b *testing.B) {
			url := pgtest.New(b)
			pgtest.Exec(b, url, fill, "vacuum analyze")
			b.ReportAllocs()
			for b.Loop() {
				i := instant{make(chan time.Time, 1)}
				ctx, cancel := context.WithCancel(b.Context())
				ended := make(chan error, 1)
				go func() { ended <- postgres.NewFeed(postgres.Config{URL: url}).Follow(ctx, tiergate.Resume{}, i) }()
				<-i.came
				cancel()
				if err := <-ended; !errors.Is(err, context.Canceled) {
					b.Error(err)
				}
			}
		})
	}
}

// What encoding/json takes for the image of a flag; the decoder is beside it in the
// package's own benchmark.
func BenchmarkDecode_encoding_json(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var f tiergate.Flag
		if err := json.Unmarshal([]byte(strings.TrimSpace(flagImage)), &f); err != nil {
			b.Fatal(err)
		}
	}
}

const flagImage = `{"id" : "f1", "set" : "default", "name" : "flag-1", "title" : "", "description" : "", "type" : "boolean", "enabled" : true, "variants" : {"on": true, "off": false}, "defaultVariant" : "on", "offVariant" : "off", "rules" : {"tiers": ["pro"], "targeting": {"if": [{"==": [{"var": "country"}, "de"]}, "on", "off"]}, "percentage": 50}, "metadata" : {"owner": "ada"}, "version" : 1, "createdAt" : "2026-11-24T12:00:00.123456+00:00", "updatedAt" : "2026-11-24T12:00:00.123456+00:00"}`
