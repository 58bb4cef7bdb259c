package postgres_test

import (
	"bytes"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/localpg"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// A logbook keeps what was logged.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logbook) log() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

const addTier = `insert into tiers (key, name, rank) values ('free', 'Free', 0)`

// With every notification lost, the poll carries the change.
func TestFeed_without_notifications(t *testing.T) {
	url := pgtest.New(t)
	p := newProxy(t, url)
	p.drop.Store(true)
	l, _ := follow(t, postgres.Config{URL: p.url, Poll: 50 * time.Millisecond}, tiergate.Resume{})
	l.next(t)
	pgtest.Exec(t, url, addTier)
	if h := l.next(t); h.Resume.Rev != 2 {
		t.Errorf("got revision %d, want 2", h.Resume.Rev)
	}
	if p.dropped.Load() == 0 {
		t.Error("no notification was lost: the test does not test it")
	}
}

// A notification alone carries the change: the poll is an hour away.
func TestFeed_by_notification(t *testing.T) {
	url := pgtest.New(t)
	l, _ := follow(t, postgres.Config{URL: url, Poll: time.Hour}, tiergate.Resume{})
	l.next(t)
	pgtest.Exec(t, url, addTier)
	if h := l.next(t); h.Resume.Rev != 2 {
		t.Errorf("got revision %d, want 2", h.Resume.Rev)
	}
}

// A peer that is gone without a word is noticed, and following again from the last place
// hands over what was missed, without the whole state.
func TestFeed_notices_a_half_open_connection(t *testing.T) {
	url := pgtest.New(t)
	p := newProxy(t, url)
	cfg := postgres.Config{URL: p.url, Poll: 20 * time.Millisecond, Patience: 3 * time.Second}
	l, ended := follow(t, cfg, tiergate.Resume{})
	at := l.next(t).Resume
	p.silent.Store(true)
	pgtest.Exec(t, url, addTier)
	if err := <-ended; tiergate.CodeOf(err) != tiergate.Unavailable {
		t.Errorf("Follow ended with %v, want Unavailable", err)
	}
	if p.lost.Load() == 0 {
		t.Error("nothing was lost: the test does not test it")
	}
	p.silent.Store(false)
	l, _ = follow(t, cfg, at)
	if h := l.next(t); h.Whole || h.Resume.Rev != 2 {
		t.Errorf("got revision %d (whole %v), want 2 on top of 1", h.Resume.Rev, h.Whole)
	}
}

// Confirm says when we last knew everything, and goes on saying it while nothing changes.
func TestFeed_confirms_while_nothing_changes(t *testing.T) {
	url := pgtest.New(t)
	l, _ := follow(t, postgres.Config{URL: url, Poll: 10 * time.Millisecond, Heartbeat: time.Nanosecond}, tiergate.Resume{})
	l.next(t)
	first := <-l.confirmed
	for range 3 {
		if next := <-l.confirmed; !next.After(first) {
			t.Errorf("confirmed %v after %v", next, first)
		}
	}
}

// A restored older dump is behind, or has another history: the whole state again, with a
// warning; and so has a history of another epoch.
func TestFeed_resyncs_after_a_restore(t *testing.T) {
	url := pgtest.New(t)
	pgtest.Exec(t, url, addTier)
	dump := dumpOf(t, url)
	pgtest.Exec(t, url, `update tiers set name = 'later'`)
	l, _ := follow(t, postgres.Config{URL: url}, tiergate.Resume{})
	later := l.next(t).Resume

	restored := pgtest.Empty(t)
	restore(t, restored, dump)
	var book logbook
	l, _ = follow(t, postgres.Config{URL: restored, Log: book.log()}, later)
	h := l.next(t)
	if !h.Whole || h.Resume.Rev != later.Rev-1 || h.Resume.Epoch != later.Epoch {
		t.Errorf("behind: got %v (whole %v), want the whole state at %d", h.Resume, h.Whole, later.Rev-1)
	}
	if !strings.Contains(book.String(), "level=WARN") || !strings.Contains(book.String(), "the database is behind") {
		t.Errorf("no warning: %s", book.String())
	}

	pgtest.Exec(t, restored, `update tiers set name = 'another way'`, `update tiers set name = 'further'`)
	for _, from := range []tiergate.Resume{later, {Epoch: "00000000-0000-0000-0000-000000000000", Rev: 1, Hash: later.Hash, Schema: 1}} {
		l, _ = follow(t, postgres.Config{URL: restored}, from)
		if h = l.next(t); !h.Whole || h.Resume.Rev != later.Rev+1 {
			t.Errorf("forked from %v: got %v (whole %v), want the whole state", from, h.Resume, h.Whole)
		}
	}
	if _, err := open(t, restored).VerifyChain(t.Context()); err != nil {
		t.Errorf("the chain of a restored database: %v", err)
	}
}

// A history that is taken back under a follower's feet is noticed while it follows.
func TestFeed_notices_a_history_taken_back(t *testing.T) {
	url := pgtest.New(t)
	pgtest.Exec(t, url, addTier)
	l, _ := follow(t, postgres.Config{URL: url, Poll: 10 * time.Millisecond}, tiergate.Resume{})
	l.next(t)
	pgtest.Exec(t, url, `set session_replication_role = replica;
		update feed_head h set rev = 1, hash = r.hash from revisions r where r.rev = 1;
		delete from revisions where rev = 2; delete from change_log where rev = 2; delete from tiers`)
	if h := l.next(t); !h.Whole || h.Resume.Rev != 1 {
		t.Errorf("got %v (whole %v), want the whole state at 1", h.Resume, h.Whole)
	}
}

func dumpOf(t *testing.T, url string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program(t, "pg_dump"), "--format=custom", url).Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	return out
}

func restore(t *testing.T, url string, dump []byte) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t, "pg_restore"), "--exit-on-error", "--dbname="+url)
	cmd.Stdin = bytes.NewReader(dump)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("pg_restore: %v: %s", err, out)
	}
}

// program returns a client program of the server that runs.
func program(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(pgtest.Cluster(t).Bin(), name)
}

// A plain psql session is captured like any other, under the name of its role.
func TestFeed_captures_psql(t *testing.T) {
	url := pgtest.New(t)
	l, _ := follow(t, postgres.Config{URL: url}, tiergate.Resume{})
	l.next(t)
	cmd := exec.CommandContext(t.Context(), program(t, "psql"), "--no-psqlrc", "--set=ON_ERROR_STOP=1", url)
	cmd.Stdin = strings.NewReader("begin;\n" + addTier + ";\nsavepoint s;\ndelete from tiers;\nrollback to s;\n" +
		"\\copy users (id, email) from stdin\nada\tada@example.org\ngrace\t\\N\n\\.\ncommit;\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("psql: %v: %s", err, out)
	}
	h := l.next(t)
	if h.Resume.Rev != 2 || len(h.changes) != 3 {
		t.Fatalf("got revision %d with %v, want a tier and two users", h.Resume.Rev, h.changes)
	}
	var actor, log string
	err := pgtest.Connect(t, url).QueryRow(t.Context(),
		`select actor, (select string_agg(image::text, '') from change_log) from revisions where rev = 2`).Scan(&actor, &log)
	if err != nil || actor != "postgres:postgres" {
		t.Errorf("the actor is %q, %v", actor, err)
	}
	if strings.Contains(log, "ada@") {
		t.Errorf("an e-mail address is in the log: %s", log)
	}
}

// Postgres stopped and started again: Follow says that it is away, and following again
// goes on where it was.
func TestFeed_survives_a_restart(t *testing.T) {
	dir := pgtest.Folder(t)
	settings := map[string]string{"fsync": "off", "shared_buffers": "16MB"}
	c, err := localpg.Start(t.Context(), localpg.Config{Dir: dir, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	url := c.URL("postgres")
	if err := postgres.Migrate(t.Context(), url, postgres.MigrateOptions{SingleRole: true}); err != nil {
		t.Fatal(err)
	}
	l, ended := follow(t, postgres.Config{URL: url}, tiergate.Resume{})
	at := l.next(t).Resume
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; tiergate.CodeOf(err) != tiergate.Unavailable {
		t.Errorf("Follow ended with %v, want Unavailable", err)
	}
	if err := postgres.NewFeed(postgres.Config{URL: url}).Follow(t.Context(), at, l); tiergate.CodeOf(err) != tiergate.Unavailable {
		t.Errorf("Follow without a server: %v, want Unavailable", err)
	}
	if c, err = localpg.Start(t.Context(), localpg.Config{Dir: dir, Settings: settings}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	pgtest.Exec(t, url, addTier)
	l, _ = follow(t, postgres.Config{URL: url}, at)
	if h := l.next(t); h.Whole || h.Resume.Rev != 2 {
		t.Errorf("got revision %d (whole %v), want 2 on top of 1", h.Resume.Rev, h.Whole)
	}
}

// A change after the revision was closed by early constraints is refused, and so are
// TRUNCATE and a change of what was written.
func TestFeed_refuses(t *testing.T) {
	url := pgtest.New(t)
	pgtest.Exec(t, url, addTier)
	conn := pgtest.Connect(t, url)
	for name, script := range map[string]string{
		"change after close":       `begin; update tiers set name = 'x'; set constraints all immediate; update tiers set name = 'y'`,
		"two rows while immediate": `begin; set constraints all immediate; insert into tiers (key, name, rank) values ('a', 'A', 1), ('b', 'B', 2)`,
		"truncate":                 `truncate tiers cascade`,
		"truncate of the log":      `truncate change_log`,
		"update of the log":        `update change_log set key = 'x'`,
		"delete from the log":      `delete from change_log`,
		"update of a revision":     `update revisions set actor = 'x'`,
		"delete of a revision":     `delete from revisions`,
		"delete of the head":       `delete from feed_head`,
		"revision by hand":         `insert into revisions select rev + 1, epoch, schema, hash, null, null, '', '', '', null from feed_head`,
		"policy changed":           `delete from policy_bundles`,
	} {
		if _, err := conn.Exec(t.Context(), script); err == nil {
			t.Errorf("%s is not refused", name)
		}
		if _, err := conn.Exec(t.Context(), "rollback"); err != nil {
			t.Fatal(err)
		}
	}
	if head, err := open(t, url).VerifyChain(t.Context()); err != nil || head.Rev != 2 {
		t.Errorf("VerifyChain = %v, %v, want 2 revisions", head, err)
	}
}

// One row changed while constraints are immediate is one whole revision.
func TestFeed_immediate_single_row(t *testing.T) {
	url := pgtest.New(t)
	pgtest.Exec(t, url, `begin; set constraints all immediate; `+addTier+`; commit`)
	if head, err := open(t, url).VerifyChain(t.Context()); err != nil || head.Rev != 2 {
		t.Errorf("VerifyChain = %v, %v, want 2 revisions", head, err)
	}
}

// Every tampering with the history is found.
func TestVerifyChain_finds_every_mutation(t *testing.T) {
	url := pgtest.New(t)
	pgtest.Exec(t, url, addTier, `insert into users (id) values ('a'), ('b')`, `update users set attributes = '{"x": 1}'`)
	db := open(t, url)
	if head, err := db.VerifyChain(t.Context()); err != nil || head.Rev != 4 {
		t.Fatalf("VerifyChain = %v, %v", head, err)
	}
	conn := pgtest.Connect(t, url)
	for _, mutation := range []string{
		`update change_log set image = '{"key": "free"}' where rev = 2`,
		`update change_log set image = (image::text || ' ')::json where rev = 3`,
		`update change_log set key = key || 'x' where rev = 3`,
		`update change_log set kind = 'team' where rev = 2`,
		`update change_log set op = 'delete', image = null where rev = 4`,
		`update change_log set schema = 2 where rev = 2`,
		`update change_log set rev = 3 where rev = 2`,
		`delete from change_log where rev = 2`,
		`delete from change_log where (rev, ord) = (select rev, max(ord) from change_log where rev = 3 group by rev)`,
		`insert into change_log (rev, ord, kind, key, op, schema) values (3, 1000, 'user', 'c', 'delete', 1)`,
		`insert into change_log (rev, ord, kind, key, op, schema) values (9, 1000, 'user', 'c', 'delete', 1)`,
		`update revisions set actor = 'somebody' where rev = 3`,
		`update revisions set reason = 'because' where rev = 3`,
		`update revisions set request_id = actor, actor = '' where rev = 3`,
		`update revisions set at = at + interval '1 microsecond' where rev = 2`,
		`update revisions set epoch = gen_random_uuid() where rev = 2`,
		`update revisions set hash = sha256(hash) where rev = 2`,
		`update revisions set prev_hash = sha256(hash) where rev = 2`,
		`update revisions set changes = changes + 1 where rev = 2`,
		`delete from revisions where rev = 4`,
		`delete from revisions where rev = 1`,
		`update feed_head set rev = 3`,
		`update feed_head set hash = sha256(hash)`,
	} {
		mutateAndVerify(t, conn, db, mutation)
	}
	if _, err := db.VerifyChain(t.Context()); err != nil {
		t.Errorf("the mutations were not undone: %v", err)
	}
}

// mutateAndVerify commits a mutation, verifies, and puts back what was there.
func mutateAndVerify(t *testing.T, conn *pgx.Conn, db *postgres.DB, mutation string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), `set session_replication_role = replica;
		create temp table r as table revisions; create temp table c as table change_log; create temp table h as table feed_head;
		alter table change_log alter ord drop identity if exists; `+mutation)
	if err != nil {
		t.Fatalf("%s: %v", mutation, err)
	}
	if _, err := db.VerifyChain(t.Context()); err == nil {
		t.Errorf("%s: is not found", mutation)
	}
	_, err = conn.Exec(t.Context(), `truncate revisions, change_log, feed_head;
		insert into revisions table r; insert into change_log table c; insert into feed_head table h; drop table r, c, h`)
	if err != nil {
		t.Fatal(err)
	}
}
