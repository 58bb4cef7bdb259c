package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// benchTransactions reports how many transactions that write one round takes, and the time
// that the server's processor works for it, which other work on the machine does not change.
func benchTransactions(b *testing.B, url string, loop func()) {
	b.Helper()
	conn := pgtest.Connect(b, url)
	count := func() (writes int64, worked time.Duration) {
		b.Helper()
		var pids []int32
		err := conn.QueryRow(context.Background(), `select pg_current_xact_id()::text::bigint, array(
			select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid())`).Scan(&writes, &pids)
		if err != nil {
			b.Fatal(err)
		}
		for _, pid := range pids {
			var n int64
			if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid)); err == nil { // Linux has it
				if _, err := fmt.Sscan(string(text), &n); err != nil {
					b.Fatal(err)
				}
			}
			worked += time.Duration(n)
		}
		return writes, worked
	}
	writes, worked := count()
	loop()
	writesAfter, workedAfter := count()
	b.ReportMetric(float64(writesAfter-writes-1)/float64(b.N), "writes/op")
	b.ReportMetric(float64((workedAfter-worked).Microseconds())/float64(b.N), "server-µs/op")
}

func bucketOf(i int) tiergate.Bucket {
	return tiergate.Bucket{Limit: "exports", Scope: "user", Subject: fmt.Sprint("user-", i), Period: "2026-11"}
}

// A holder renews its leases, with some use of each since.
func BenchmarkLedger_exchange(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("asks=%d", n), func(b *testing.B) {
			url := pgtest.New(b)
			l := openLedger(b, pgtest.As(b, url, "tiergate_sidecar"))
			x := tiergate.Exchange{Holder: "h", Asks: make([]tiergate.LeaseAsk, n)}
			for i := range x.Asks {
				x.Asks[i] = tiergate.LeaseAsk{Bucket: bucketOf(i), Amount: 1 << 50, Rev: 1, Fence: 1}
			}
			count := 0
			round := func() {
				count++
				x.Previous, x.Token = x.Token, fmt.Sprint("t", count)
				out, err := l.Exchange(context.Background(), x)
				if err != nil {
					b.Fatal(err)
				}
				for i := range x.Asks {
					a := &x.Asks[i]
					a.Granted, a.Spent, a.Need, a.Least, a.Want = out.Answers[i].Granted, out.Answers[i].Granted, 10, 1, 20
				}
			}
			round()
			benchTransactions(b, url, func() {
				for b.Loop() {
					round()
				}
			})
		})
	}
}

// A batch of a thousand folded lines: 250 users, an own bucket and the team's for each.
func BenchmarkLedger_upload(b *testing.B) {
	url := pgtest.New(b)
	l := openLedger(b, pgtest.As(b, url, "tiergate_sidecar"))
	batch := tiergate.UsageBatch{Log: "log", Usage: make([]tiergate.Usage, 1000)}
	for i := range batch.Usage {
		batch.Usage[i] = tiergate.Usage{
			ID: fmt.Sprintf("0193-%d", i), At: time.Now(), TeamID: fmt.Sprint("team-", i%50), UserID: fmt.Sprint("user-", i%250), Feature: "exports", Units: 3, Events: 3,
			Spends: []tiergate.Spend{{Bucket: bucketOf(i % 250), Holder: "h", Units: 3}, {Bucket: tiergate.Bucket{Limit: "calls", Scope: "team", Subject: fmt.Sprint("team-", i%50)}, Holder: "h", Units: 3}},
		}
		if i%10 == 0 {
			batch.Usage[i].Metadata = json.RawMessage(`{"model": "large", "tokens": 1234}`)
		}
	}
	round := func() {
		batch.From, batch.Before = batch.To, batch.After
		batch.To += 1000
		batch.After = fmt.Sprint(batch.To)
		if up, err := l.Upload(context.Background(), batch); err != nil || up.At != batch.To {
			b.Fatalf("%+v, %v", up, err)
		}
	}
	round()
	benchTransactions(b, url, func() {
		for b.Loop() {
			round()
		}
	})
}

// A reservation and its commit, with its usage.
func BenchmarkLedger_reserve_and_commit(b *testing.B) {
	url := pgtest.New(b)
	l := openLedger(b, pgtest.As(b, url, "tiergate_sidecar"))
	count := 0
	round := func() {
		count++
		id := fmt.Sprint("r", count)
		_, err := l.Reserve(context.Background(), tiergate.Reservation{
			ID: id, Owner: "acme", TeamID: "acme", Feature: "training", Fingerprint: "f",
			Holds: []tiergate.Hold{
				{Bucket: bucketOf(0), Kind: tiergate.Quota, Units: 2, Amount: 1 << 50, Rev: 1},
				{Bucket: bucketOf(1), Kind: tiergate.Concurrency, Units: 1, Amount: 1 << 50, Rev: 1},
			},
		}, time.Minute)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := l.Commit(context.Background(), id, "acme", 1, false); err != nil {
			b.Fatal(err)
		}
	}
	round()
	benchTransactions(b, url, func() {
		for b.Loop() {
			round()
		}
	})
}

// Eight holders at once that want a little more of one bucket.
func BenchmarkLedger_one_bucket(b *testing.B) {
	url := pgtest.New(b)
	l, err := postgres.NewLedger(postgres.Config{URL: pgtest.As(b, url, "tiergate_sidecar"), MaxConns: 8})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	var holders atomic.Int64
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		x := tiergate.Exchange{Holder: fmt.Sprint("h", holders.Add(1)), Asks: []tiergate.LeaseAsk{{Bucket: bucketOf(0), Amount: 1 << 50, Rev: 1, Fence: 1, Need: 1, Want: 2}}}
		for count := 0; pb.Next(); count++ {
			x.Previous, x.Token = x.Token, fmt.Sprint(count)
			out, err := l.Exchange(context.Background(), x)
			if err != nil {
				b.Error(err)
				return
			}
			x.Asks[0].Granted, x.Asks[0].Spent = out.Answers[0].Granted, out.Answers[0].Granted
		}
	})
}
