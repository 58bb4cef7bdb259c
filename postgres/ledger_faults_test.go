package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/faultproxy"
	"github.com/tiergate/tiergate/internal/localpg"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
	"github.com/tiergate/tiergate/quota/ledgertest"
)

func faulty(t *testing.T, url string) (*faultproxy.Proxy, string) {
	t.Helper()
	cc, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	p, err := faultproxy.New(cc.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p, p.URL(cc.User, cc.Database)
}

var jobs = tiergate.Bucket{Limit: "jobs", Scope: "team", Subject: "acme"}

func job(id string) tiergate.Reservation {
	return tiergate.Reservation{ID: id, Owner: "acme", TeamID: "acme", Fingerprint: "f", Holds: []tiergate.Hold{{Bucket: jobs, Kind: tiergate.Quota, Units: 2, Amount: 100, Rev: 1}}}
}

// The connection ends after the commit and before the answer, and that of the second try does so
// too: the call says that it does not know, it has taken effect, and the same again changes
// nothing and answers as if it were the first.
func TestLedger_answer_lost_after_the_commit(t *testing.T) {
	ctx := t.Context()
	ask := []tiergate.LeaseAsk{{Bucket: jobs, Amount: 100, Rev: 1, Fence: 1, Need: 3, Want: 3}}
	for name, do := range map[string]func(l *postgres.Ledger, n string) (any, error){
		"exchange": func(l *postgres.Ledger, n string) (any, error) {
			x, err := l.Exchange(ctx, tiergate.Exchange{Holder: n, Token: "t", Asks: ask})
			x.Now = time.Time{}
			return x, err
		},
		"upload": func(l *postgres.Ledger, n string) (any, error) {
			return l.Upload(ctx, tiergate.UsageBatch{Log: n, To: 9, After: "h", Usage: []tiergate.Usage{{ID: "e", Units: 1, Events: 1, Spends: []tiergate.Spend{{Bucket: jobs, Units: 1}}}}})
		},
		"reserve": func(l *postgres.Ledger, n string) (any, error) { return l.Reserve(ctx, job(n), time.Hour) },
		"commit":  func(l *postgres.Ledger, n string) (any, error) { return l.Commit(ctx, "for "+n, "acme", 1, false) },
		"release": func(l *postgres.Ledger, n string) (any, error) { return l.Release(ctx, "for "+n, "acme") },
		"add":     func(l *postgres.Ledger, n string) (any, error) { return l.Add(ctx, jobs, n, 100, 1) },
		"remove":  func(l *postgres.Ledger, n string) (any, error) { return l.Remove(ctx, jobs, "of "+n) },
		"retire": func(l *postgres.Ledger, n string) (any, error) {
			return nil, l.Retire(ctx, tiergate.Retirement{Holder: "old " + n, Previous: "t", Token: "u"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.New(t)
			direct := openLedger(t, url)
			for _, n := range []string{"warm", "cut"} {
				_, held := direct.Reserve(t.Context(), job("for "+n), time.Hour)
				_, old := direct.Exchange(t.Context(), tiergate.Exchange{Holder: "old " + n, Token: "t", Asks: ask})
				_, item := direct.Add(t.Context(), jobs, "of "+n, 100, 1)
				if held != nil || old != nil || item != nil {
					t.Fatal(held, old, item)
				}
			}
			p, through := faulty(t, url)
			l, err := postgres.NewLedger(postgres.Config{URL: through, MaxConns: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if _, err := do(l, "warm"); err != nil { // the statement is prepared
				t.Fatal(err)
			}
			p.Lose(1_000_000)
			if _, err := do(l, "cut"); tiergate.CodeOf(err) != tiergate.Unavailable || p.Counts().Lost != 2 {
				t.Fatalf("%v with %d answers lost, want Unavailable by two", err, p.Counts().Lost)
			}
			p.Lose(0)
			db := poolOf(t, url)
			committed := ledgerSums(t, db)
			again, err := do(l, "cut")
			if err != nil {
				t.Fatalf("again: %v", err)
			}
			third, err := do(direct, "cut")
			if diff := cmp.Diff(again, third, cmpopts.EquateEmpty()); err != nil || diff != "" {
				t.Errorf("a third time: %v, mismatch (-second +third):\n%s", err, diff)
			}
			if diff := cmp.Diff(committed, ledgerSums(t, db)); diff != "" {
				t.Errorf("sending it again changed something (-before +after):\n%s", diff)
			}
		})
	}
}

// While nobody answers every call is Unavailable, soon, and by itself it works again. Connections
// that are cut while nobody uses them are nobody's trouble.
func TestLedger_away_and_back(t *testing.T) {
	l := openLedger(t, "postgres://postgres@/x?host=/nowhere")
	if _, err := l.Exchange(t.Context(), tiergate.Exchange{Holder: "h", Token: "t"}); tiergate.CodeOf(err) != tiergate.Unavailable {
		t.Errorf("%v, want Unavailable", err)
	}
	if _, err := postgres.NewLedger(postgres.Config{URL: "postgres://u:secret@h:bad/x"}); tiergate.CodeOf(err) != tiergate.Invalid {
		t.Errorf("a bad URL: %v", err)
	}
	l = openLedger(t, pgtest.Empty(t))
	if _, err := l.Peek(t.Context(), nil); tiergate.CodeOf(err) != tiergate.Unavailable {
		t.Errorf("a database without tables: %v, want Unavailable", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Peek(ctx, nil); err == nil || tiergate.CodeOf(err) == tiergate.Unavailable {
		t.Errorf("nobody waits: %v", err)
	}
	p, through := faulty(t, pgtest.New(t))
	l = openLedger(t, through)
	for range 3 {
		if _, err := l.Peek(t.Context(), nil); err != nil {
			t.Errorf("%v, want an answer", err)
		}
		p.Cut()
	}
	if n := p.Counts().Cut; n < 4 {
		t.Errorf("%d ends of connections were cut: the test does not test it", n)
	}
	p.Lose(1_000_000)
	if _, err := l.Peek(t.Context(), nil); tiergate.CodeOf(err) != tiergate.Unavailable {
		t.Errorf("all answers are lost: %v, want Unavailable", err)
	}
}

// Postgres was started anew while nobody asked anything. It is there again, and so the first
// call is answered, although every connection that the ledger had is gone, however it ended.
func TestLedger_answers_at_once_after_a_restart_of_postgres(t *testing.T) {
	dir := pgtest.Folder(t)
	settings := map[string]string{"fsync": "off", "shared_buffers": "16MB"}
	pg, err := localpg.Start(t.Context(), localpg.Config{Dir: dir, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pg.Close() }()
	url := pg.URL("postgres")
	if err := postgres.Migrate(t.Context(), url, postgres.MigrateOptions{SingleRole: true}); err != nil {
		t.Fatal(err)
	}
	l := openLedger(t, url)
	exchange := func() error {
		_, err := l.Exchange(t.Context(), tiergate.Exchange{Holder: "h", Token: "t"})
		return err
	}
	gauge := func() error {
		_, _, err := l.Replace(t.Context(), jobs, []string{"a", "b"})
		return err
	}
	for sig, first := range map[syscall.Signal]func() error{syscall.SIGINT: exchange, syscall.SIGQUIT: gauge} { // fast; and immediate, which is a crash
		connect(t, l)
		if err := syscall.Kill(pg.Pid(), sig); err != nil {
			t.Fatal(err)
		}
		<-pg.Done()
		if err := pg.Close(); err != nil {
			t.Fatal(err)
		}
		if pg, err = localpg.Start(t.Context(), localpg.Config{Dir: dir, Settings: settings}); err != nil {
			t.Fatal(err)
		}
		if err := first(); err != nil {
			t.Errorf("the first call after %v: %v", sig, err)
		}
	}
}

// connect has a ledger open all of its connections.
func connect(t *testing.T, l *postgres.Ledger) {
	t.Helper()
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			if _, err := l.Peek(t.Context(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// A batch that no table could hold as it is counts all the same, or its log would stop for ever.
func TestLedger_counts_what_it_cannot_hold(t *testing.T) {
	url := pgtest.New(t)
	l := openLedger(t, url)
	deep := make([]byte, 0, 20_000)
	for range 10_000 {
		deep = append(deep, '[')
	}
	for range 10_000 {
		deep = append(deep, ']')
	}
	b := tiergate.UsageBatch{Log: "log", To: 1, Denials: []tiergate.Denial{{Feature: "f\x00", Reason: "r\xff", Count: 1}}}
	for _, metadata := range []string{`{"a": "\u0000"}`, `{"a": 1e999999}`, `{"a": "` + "\xff" + `"}`, `{`, string(deep), `{"a": "\ud800"}`, `null`} {
		b.Usage = append(b.Usage, tiergate.Usage{
			ID: "e\x00", At: time.Now(), TeamID: "\xff", UserID: "u\x00", Feature: "f", Units: 1, Events: 1, Metadata: []byte(metadata),
			Spends: []tiergate.Spend{{Bucket: tiergate.Bucket{Limit: "l", Subject: "s\x00\xff"}, Units: 1}}, Key: &tiergate.UsageKey{Key: "k" + metadata, Fingerprint: "\x00"},
		})
	}
	up, err := l.Upload(t.Context(), b)
	if err != nil || up.At != 1 || up.Duplicates != 0 {
		t.Fatalf("%+v, %v", up, err)
	}
	var events, unreadable int
	err = pgtest.Connect(t, url).QueryRow(t.Context(), `select count(*), count(*) filter (where metadata::text like '%unreadable%') from usage_analytics`).Scan(&events, &unreadable)
	if err != nil || events != 7 || unreadable != 3 {
		t.Errorf("%d events, %d with unreadable metadata, %v", events, unreadable, err)
	}
}

// A crowd is 16 holders that spend one bucket, each as fast as it can.
type crowd struct {
	ledger   *postgres.Ledger
	bucket   tiergate.Bucket
	amount   int64
	down     atomic.Pointer[chan struct{}] // closed when the server is there again
	admitted atomic.Int64
	unknown  atomic.Int64 // calls whose outcome nobody knew
	calls    atomic.Int64
}

// try sends the same until there is an answer.
func (c *crowd) try(t *testing.T, do func(context.Context) error) {
	for {
		c.calls.Add(1)
		err := do(t.Context())
		if tiergate.CodeOf(err) != tiergate.Unavailable {
			if err != nil {
				t.Error(err)
			}
			return
		}
		c.unknown.Add(1)
		if down := c.down.Load(); down != nil {
			<-*down
		}
	}
}

// run spends until the bucket is empty, in small portions, then gives back and uploads the rest.
func (c *crowd) run(t *testing.T, holder string) {
	ask := tiergate.LeaseAsk{Bucket: c.bucket, Amount: c.amount, Rev: 1, Fence: 1, Least: 1}
	var spent, from int64
	var hash, token string
	for round := 1; !t.Failed(); round++ {
		x := tiergate.Exchange{Holder: holder, Previous: token, Token: fmt.Sprint(round), Asks: []tiergate.LeaseAsk{ask}}
		x.Asks[0].Need, x.Asks[0].Want = 3, 6
		var a tiergate.LeaseAnswer
		c.try(t, func(ctx context.Context) error {
			out, err := c.ledger.Exchange(ctx, x)
			if err == nil {
				a = out.Answers[0]
			}
			return err
		})
		token = x.Token
		fresh := a.Granted - spent
		if ask.Seal || t.Failed() {
			return
		}
		if fresh > 1 && round%3 == 0 {
			fresh-- // some is given back at the end
		}
		spent += fresh
		c.admitted.Add(fresh)
		ask.Granted, ask.Spent = a.Granted, spent
		ask.Seal = a.Available <= 0 && a.Granted == spent
		b := tiergate.UsageBatch{Log: holder, From: from, To: from + 10, Before: hash, After: fmt.Sprint(from + 10), Usage: []tiergate.Usage{{
			ID: "e", At: time.Now(), TeamID: "acme", Feature: "f", Units: fresh, Events: 1, Spends: []tiergate.Spend{{Bucket: c.bucket, Holder: holder, Units: fresh}},
		}}}
		c.try(t, func(ctx context.Context) error {
			up, err := c.ledger.Upload(ctx, b)
			if err == nil && up.At != b.To {
				return fmt.Errorf("the log of %s goes on at %d, want %d", holder, up.At, b.To)
			}
			return err
		})
		from, hash = b.To, b.After
	}
}

// hammer lets 16 holders spend while disturb does what it does, and then checks every sum:
// all was admitted, not one more, and all of it was counted once.
func hammer(t *testing.T, direct, through string, disturb func(c *crowd)) {
	t.Helper()
	l, err := postgres.NewLedger(postgres.Config{URL: through, MaxConns: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := &crowd{ledger: l, bucket: tiergate.Bucket{Limit: "exports", Scope: "team", Subject: "acme"}, amount: 1500}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() { c.run(t, fmt.Sprint("holder-", i)) })
	}
	disturb(c)
	wg.Wait()
	sums := ledgerSums(t, poolOf(t, direct))
	ledgertest.Check(t, sums)
	if n := c.admitted.Load(); len(sums) != 1 || n != c.amount || sums[0].Kept != (ledgertest.Counted{Used: c.amount}) {
		t.Errorf("%d of %d were admitted, and the buckets say %+v", n, c.amount, sums)
	}
	if c.unknown.Load() == 0 {
		t.Error("no call was disturbed: the test does not test it")
	}
	t.Logf("%d calls, of %d nobody knew how they ended", c.calls.Load(), c.unknown.Load())
}

// Sixteen holders and one bucket, while answers are lost after the commit and connections are cut.
func TestLedger_under_cut_connections(t *testing.T) {
	url := pgtest.New(t)
	p, through := faulty(t, pgtest.As(t, url, "tiergate_sidecar"))
	p.Lose(50_000)
	hammer(t, url, through, func(c *crowd) {
		for cuts := int64(0); c.admitted.Load() < c.amount && !t.Failed(); {
			if at := c.calls.Load() / 200; at > cuts {
				cuts = at
				p.Cut()
			}
			if _, err := c.ledger.Peek(t.Context(), nil); err != nil && tiergate.CodeOf(err) != tiergate.Unavailable {
				t.Error(err)
			}
		}
	})
	if counts := p.Counts(); counts.Lost == 0 {
		t.Errorf("%+v: nothing was lost", counts)
	}
}

// The same while Postgres is killed and started again.
func TestLedger_under_restarts_of_postgres(t *testing.T) {
	dir := pgtest.Folder(t)
	settings := map[string]string{"fsync": "off", "shared_buffers": "16MB"}
	pg, err := localpg.Start(t.Context(), localpg.Config{Dir: dir, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pg.Close() }()
	url := pg.URL("postgres")
	if err := postgres.Migrate(t.Context(), url, postgres.MigrateOptions{SingleRole: true}); err != nil {
		t.Fatal(err)
	}
	hammer(t, url, url, func(c *crowd) {
		for _, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGINT} { // immediate: no checkpoint; then fast
			for before := c.calls.Load(); c.calls.Load() < before+60 && c.admitted.Load() < c.amount; {
				_, _ = c.ledger.Peek(t.Context(), nil)
			}
			again := make(chan struct{})
			c.down.Store(&again)
			if err := syscall.Kill(pg.Pid(), sig); err != nil {
				t.Error(err)
			}
			<-pg.Done()
			if err := pg.Close(); err != nil {
				t.Error(err)
			}
			if pg, err = localpg.Start(t.Context(), localpg.Config{Dir: dir, Settings: settings}); err != nil {
				t.Error(err)
			}
			c.down.Store(nil)
			close(again)
			if err != nil {
				return
			}
		}
	})
	var learning bool
	if err := pgtest.Connect(t, url).QueryRow(t.Context(), `select learning_until > '-infinity' from ledger_state`).Scan(&learning); err != nil || learning {
		t.Errorf("a restart was taken for another life of the server: %v, %v", learning, err)
	}
}
