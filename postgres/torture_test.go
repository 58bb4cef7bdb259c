package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
	"github.com/tiergate/tiergate/snapshot"
)

const (
	tortureWriters      = 32
	tortureTransactions = 20_000
	tortureCheckpoints  = 200
)

// A replica is a follower that keeps a view of each revision until it is told to forget.
type replica struct {
	store *snapshot.Store
	mu    sync.Mutex
	come  *sync.Cond
	views map[int64]*snapshot.View
	at    int64
	whole int
	bad   error
}

func newReplica() *replica {
	r := &replica{store: new(snapshot.Store), views: map[int64]*snapshot.View{}}
	r.come = sync.NewCond(&r.mu)
	return r
}

func (r *replica) Apply(_ context.Context, rev tiergate.Revision) error {
	view, _, err := r.store.Apply(rev)
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.come.Broadcast()
	switch {
	case err != nil:
		r.bad = fmt.Errorf("apply %s: %w", rev.Resume.Revision(), err)
		return err
	case rev.Whole:
		r.whole++
	case rev.Resume.Rev != r.at+1:
		r.bad = fmt.Errorf("revision %d came after %d", rev.Resume.Rev, r.at)
	}
	r.at = rev.Resume.Rev
	r.views[r.at] = view
	return nil
}

func (r *replica) Confirm(asOf time.Time) {}

// fail ends everybody's wait.
func (r *replica) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bad == nil {
		r.bad = err
	}
	r.come.Broadcast()
}

// view waits for the view of a revision and forgets the ones before.
func (r *replica) view(rev int64) (*snapshot.View, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.at < rev && r.bad == nil {
		r.come.Wait()
	}
	for old := range r.views {
		if old < rev {
			delete(r.views, old)
		}
	}
	return r.views[rev], r.bad
}

// 32 writers at once, with rollbacks, savepoints and early constraints: every revision
// arrives, in order, and the replica is what the database is, at 200 moments in between.
func TestFeed_torture(t *testing.T) {
	url := pgtest.New(t)
	pgtest.Exec(t, url, tortureGround)
	r := newReplica()
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() {
		if err := postgres.NewFeed(postgres.Config{URL: url}).Follow(ctx, tiergate.Resume{}, r); ctx.Err() == nil {
			r.fail(fmt.Errorf("follow: %w", err))
		}
	})
	defer following.Wait()
	defer cancel()

	counts := tortureCounts{due: make(chan struct{}, tortureCheckpoints)}
	var writers sync.WaitGroup
	for w := range tortureWriters {
		writers.Go(func() { tortureWriter(t, url, uint64(w), &counts) })
	}
	checked := 0
	for range counts.due {
		if checked++; !tortureCheckpoint(t, url, r, checked%20 == 0) || checked == tortureCheckpoints {
			break
		}
	}
	writers.Wait()
	tortureCheckpoint(t, url, r, true)
	counts.check(t, checked)
	if r.whole != 1 {
		t.Errorf("the whole state was handed over %d times, want once", r.whole)
	}
	db := open(t, url)
	if head, err := db.VerifyChain(t.Context()); err != nil || head.Rev != counts.committed.Load()+2 {
		t.Errorf("VerifyChain = %v, %v; want %d revisions", head, err, counts.committed.Load()+2)
	}
}

// tortureCheckpoint takes a fresh snapshot and compares it with the replica at the same
// revision; deep also folds the whole log in SQL and compares it with the tables.
func tortureCheckpoint(t *testing.T, url string, r *replica, deep bool) bool {
	t.Helper()
	fresh := snapshotOf(t, url)
	view, err := r.view(fresh.Resume().Rev)
	if err != nil {
		t.Error(err)
		return false
	}
	if view == nil {
		t.Errorf("the replica never was at %d", fresh.Resume().Rev)
		return false
	}
	if view.Digest() != fresh.Digest() || view.Resume() != fresh.Resume() {
		t.Errorf("at %v the replica is not what the database is", fresh.Resume())
		return false
	}
	return !deep || foldsToTables(t, url)
}

// snapshotOf reads the whole state on a connection of its own.
func snapshotOf(t *testing.T, url string) *snapshot.View {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	one := &once{store: new(snapshot.Store), cancel: cancel}
	err := postgres.NewFeed(postgres.Config{URL: url}).Follow(ctx, tiergate.Resume{}, one)
	if one.view == nil {
		t.Fatalf("no snapshot: %v, %v", err, one.err)
	}
	return one.view
}

// once takes the whole state and then ends its Follow.
type once struct {
	store  *snapshot.Store
	cancel context.CancelFunc
	view   *snapshot.View
	err    error
}

func (o *once) Apply(_ context.Context, r tiergate.Revision) error {
	o.view, _, o.err = o.store.Apply(r)
	return o.err
}

func (o *once) Confirm(time.Time) { o.cancel() }

const foldSQL = `
	with latest as (select distinct on (kind, key) kind, key, op, image::text from change_log order by kind, key, rev desc, ord desc),
	tables as (
	  select 'flag_set' as kind, key, image from replica_flag_set union all select 'tier', key, image from replica_tier union all
	  select 'limit', key, image from replica_limit union all select 'flag', key, image from replica_flag union all
	  select 'user', key, image from replica_user union all select 'team', key, image from replica_team union all
	  select 'member', key, image from replica_member union all select 'key', key, image from replica_key union all
	  select 'override', key, image from replica_override union all select 'grant', key, image from replica_grant union all
	  select 'policy', key, image from replica_policy)
	select
	  (select md5(coalesce(string_agg(md5(kind || key || image), '' order by kind collate "C", key collate "C"), '')) from latest where op = 'put'),
	  (select md5(coalesce(string_agg(md5(kind || key || image), '' order by kind collate "C", key collate "C"), '')) from tables)`

// foldsToTables says whether the log, folded, gives the rows of the tables, by SQL alone.
func foldsToTables(t *testing.T, url string) bool {
	t.Helper()
	conn := pgtest.Connect(t, url)
	defer conn.Close(t.Context())
	var log, tables string
	if _, err := conn.Exec(t.Context(), `set timezone = 'UTC'`); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(t.Context(), foldSQL).Scan(&log, &tables); err != nil {
		t.Fatal(err)
	}
	if log != tables {
		t.Error("the folded log is not what the tables are")
	}
	return log == tables
}

// tortureCounts say what happened; due gets a word every hundred transactions.
type tortureCounts struct {
	due chan struct{}

	transactions, committed, rolledBack, savepoints, immediate, refused, unchanged atomic.Int64
}

// check demands that every kind of trouble happened.
func (c *tortureCounts) check(t *testing.T, checked int) {
	t.Helper()
	t.Logf("%d transactions: %d revisions, %d rolled back, %d without a change, %d with savepoints, %d with early constraints, %d refused; %d checkpoints",
		c.transactions.Load(), c.committed.Load(), c.rolledBack.Load(), c.unchanged.Load(), c.savepoints.Load(), c.immediate.Load(), c.refused.Load(), checked)
	for name, n := range map[string]int64{
		"rollback": c.rolledBack.Load(), "savepoint": c.savepoints.Load(), "unchanged": c.unchanged.Load(),
		"immediate": c.immediate.Load(), "refusal": c.refused.Load(), "commit": c.committed.Load(),
	} {
		if n < tortureTransactions/100 {
			t.Errorf("%s happened %d times: the test does not test it", name, n)
		}
	}
	if checked < tortureCheckpoints {
		t.Errorf("%d checkpoints, want %d", checked, tortureCheckpoints)
	}
}

const tortureGround = `
	insert into tiers (key, name, rank) values ('free', 'Free', 0), ('pro', 'Pro', 10), ('gold', 'Gold', 20);
	insert into users (id, email) select 'u' || n, 'u' || n || '@example.org' from generate_series(1, 60) n;
	insert into teams (id, name, owner_id) select 't' || n, 'Team ' || n, 'u' || n from generate_series(1, 10) n;
	insert into limits (id, key, feature, kind, period) values ('l', 'l', 'f', 'quota', 'day');
	insert into feature_flags (id, name) select 'f' || n, 'flag-' || n from generate_series(1, 30) n;`

// tortureChange is one random statement.
func tortureChange(rng *rand.Rand, n uint64) (sql string) {
	flag, user, team := rng.IntN(60)+1, rng.IntN(50)+11, rng.IntN(10)+1
	switch rng.IntN(12) {
	case 0, 1, 2:
		return fmt.Sprintf(`update feature_flags set description = 'v%d', enabled = not enabled where id = 'f%d'`, n, rng.IntN(30)+1)
	case 3:
		return fmt.Sprintf(`insert into feature_flags (id, name) values ('f%d', 'flag-%d') on conflict ("set", name) do update set title = 'again %d'`, flag, flag, n)
	case 4:
		return fmt.Sprintf(`delete from feature_flags where id = 'f%d'`, flag)
	case 5:
		return fmt.Sprintf(`update users set attributes = '{"n": %d}' where id in ('u%d', 'u%d')`, n, user, user+1)
	case 6:
		return fmt.Sprintf(`insert into team_members (team_id, user_id) values ('t%d', 'u%d') on conflict (team_id, user_id) do update set role = 'ADMIN'`, team, user)
	case 7:
		return fmt.Sprintf(`delete from users where id = 'u%d'`, user)
	case 8:
		return fmt.Sprintf(`insert into users (id, tier) values ('u%d', 'pro') on conflict do nothing`, user)
	case 9:
		return fmt.Sprintf(`update feature_flags set id = 'f%d' where id = 'f%d' and not exists (select from feature_flags where id = 'f%d')`, flag, rng.IntN(60)+1, flag)
	case 10:
		return fmt.Sprintf(`update tiers set name = 'Gold %d' where key = 'gold'`, n)
	}
	return fmt.Sprintf(`insert into overrides (id, team_id, limit_key, amount) values ('o%d', 't%d', 'l', %d)
		on conflict (team_id, limit_key) where team_id is not null do update set amount = excluded.amount`, n, team, n)
}

func tortureWriter(t *testing.T, url string, seed uint64, counts *tortureCounts) {
	conn := pgtest.Connect(t, url)
	rng := rand.New(rand.NewPCG(seed, 7))
	for i := range uint64(tortureTransactions / tortureWriters) {
		n := seed*1_000_000 + i
		script, rollsBack := tortureScript(rng, n, counts)
		var closed string
		_, err := conn.Exec(t.Context(), "begin;"+script)
		if err == nil {
			err = conn.QueryRow(t.Context(), `select coalesce(current_setting('tiergate.closed', true), '')`).Scan(&closed)
		}
		if counts.transactions.Add(1)%(tortureTransactions/tortureCheckpoints) == 0 {
			counts.due <- struct{}{}
		}
		tortureEnd(t, conn.PgConn(), err, rollsBack, closed != "", counts)
	}
}

// tortureScript is what one transaction does, all its constraints checked at the end.
func tortureScript(rng *rand.Rand, n uint64, counts *tortureCounts) (script string, rollsBack bool) {
	var b strings.Builder
	for range rng.IntN(3) {
		b.WriteString(tortureChange(rng, n) + ";")
	}
	if rng.IntN(3) == 0 {
		counts.savepoints.Add(1)
		b.WriteString("savepoint a;" + tortureChange(rng, n) + ";" + tortureChange(rng, n) + ";")
		if rng.IntN(2) == 0 {
			b.WriteString("set constraints all immediate;") // closes the revision, and the rollback opens it again
		}
		b.WriteString("rollback to a;" + "set constraints all deferred;" + tortureChange(rng, n) + ";")
	}
	switch rng.IntN(8) {
	case 0:
		b.WriteString(`update users set email = id || '@example.com', name = 'N' where id = 'u1';`) // in no image
	case 1:
		counts.immediate.Add(1)
		b.WriteString("set constraints all immediate;")
		if rng.IntN(2) == 0 {
			b.WriteString(tortureChange(rng, n) + ";" + tortureChange(rng, n) + ";")
		}
	}
	rollsBack = rng.IntN(6) == 0
	if !rollsBack {
		b.WriteString("set constraints all immediate;")
	}
	return b.String(), rollsBack
}

func tortureEnd(t *testing.T, conn *pgconn.PgConn, err error, rollsBack, changed bool, counts *tortureCounts) {
	end := "commit"
	pg, failed := errors.AsType[*pgconn.PgError](err)
	switch {
	case failed && pg.Code == "55000": // the revision is closed already
		counts.refused.Add(1)
		end = "rollback"
	case failed && pg.Code[:2] == "23": // a constraint of the model: as good as a rollback
		counts.rolledBack.Add(1)
		end = "rollback"
	case err != nil:
		t.Errorf("a transaction failed: %v", err)
		end = "rollback"
	case rollsBack:
		counts.rolledBack.Add(1)
		end = "rollback"
	case changed:
		counts.committed.Add(1)
	default:
		counts.unchanged.Add(1)
	}
	if _, err := conn.Exec(t.Context(), end).ReadAll(); err != nil {
		t.Errorf("%s: %v", end, err)
	}
}
