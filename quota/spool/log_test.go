package spool

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mustOpen(t *testing.T, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // some tests have closed it
	return l
}

func mustAppend(t *testing.T, l *Log, payloads ...string) {
	t.Helper()
	for _, p := range payloads {
		ticket, err := l.Append([16]byte{p[0]}, []byte(p))
		if err == nil {
			err = ticket.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func mustRead(t *testing.T, l *Log) Batch {
	t.Helper()
	b, err := l.Read(100, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func payloads(b Batch) (all []string) {
	for _, r := range b.Records {
		all = append(all, string(r.Payload))
	}
	return all
}

// What was appended is read in its order, again until the cursor moves, and by the next
// process from there on.
func TestLog_keeps_records_until_they_are_counted(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir})
	mustAppend(t, l, "a", "b", "c")
	for range 2 {
		if got := payloads(mustRead(t, l)); !cmp.Equal(got, []string{"a", "b", "c"}) {
			t.Fatalf("read %q", got)
		}
	}
	b, err := l.Read(2, 1<<20)
	if err != nil || b.From != 0 || b.To != 2 || b.Before != "" || len(b.After) != 64 {
		t.Fatalf("%+v, %v", b, err)
	}
	if err := l.Advance(b.To); err != nil {
		t.Fatal(err)
	}
	id := l.ID()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, Options{Dir: dir})
	if l.ID() != id || l.Recovery().Copied || len(l.Recovery().Quarantined) > 0 {
		t.Errorf("%s and %s, %+v", l.ID(), id, l.Recovery())
	}
	next := mustRead(t, l)
	if got := payloads(next); !cmp.Equal(got, []string{"c"}) || next.From != 2 || next.Before != b.After {
		t.Errorf("read %q after %+v: %+v", got, b, next)
	}
}

// One process uses a folder: a second one is told so.
func TestOpen_refuses_a_folder_in_use(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, Options{Dir: dir})
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("the second got %v", err)
	}
}

// A full log refuses, drops nothing, and takes records again once the ledger has some.
func TestAppend_refuses_when_full(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir(), SegmentBytes: 2048, MaxBytes: 8192, Keep: 1})
	took := 0
	for ; ; took++ {
		ticket, err := l.Append(idFor(uint64(took)), make([]byte, 200))
		if errors.Is(err, ErrFull) {
			break
		}
		if err == nil {
			err = ticket.Wait(t.Context())
		}
		if err != nil || took > 100 {
			t.Fatal(took, err)
		}
	}
	if s := l.Stats(); took < 16 || s.Records != int64(took) || s.Rejected != 1 || s.Appended != int64(took) {
		t.Errorf("took %d, %+v", took, s)
	}
	b := mustRead(t, l)
	if err := l.Advance(b.To); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "again")
}

// Payloads have a bound, and none at all is a payload.
func TestAppend_bounds_payloads(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir(), SegmentBytes: 1024})
	if _, err := l.Append([16]byte{}, make([]byte, MaxPayload+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	for _, size := range []int{0, MaxPayload, 1} {
		ticket, err := l.Append([16]byte{1}, make([]byte, size))
		if err == nil {
			err = ticket.Wait(t.Context())
		}
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
	for _, size := range []int{0, MaxPayload, 1} {
		b, err := l.Read(1, 1)
		if err != nil || len(b.Records) != 1 || len(b.Records[0].Payload) != size {
			t.Fatalf("%d bytes: %d records, %v", size, len(b.Records), err)
		}
		if err := l.Advance(b.To); err != nil {
			t.Fatal(err)
		}
	}
}

// A closed log says so, and has made durable what was appended before.
func TestClose_flushes(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir})
	ticket, err := l.Append([16]byte{1}, []byte("last"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ticket.Wait(t.Context()); err != nil {
		t.Errorf("the ticket: %v", err)
	}
	_, appended := l.Append([16]byte{1}, nil)
	_, read := l.Read(1, 1)
	for _, err := range []error{appended, read, l.Advance(1), l.Rewind(0, ""), l.Renew(""), l.Adopt(), l.Pending(t.Context()), l.Close()} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
	if got := payloads(mustRead(t, mustOpen(t, Options{Dir: dir}))); !cmp.Equal(got, []string{"last"}) {
		t.Errorf("read %q", got)
	}
}

// Pending waits for something to read, and no longer than its context.
func TestPending_waits(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	if err := l.Pending(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("nothing to read: %v", err)
	}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if err := l.Pending(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	mustAppend(t, l, "a")
	all.Wait()
}

// A copied folder is told from the one that was written, until it begins a history of its own.
func TestOpen_knows_a_copy(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	l := mustOpen(t, Options{Dir: dir})
	mustAppend(t, l, "a", "b")
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	c := mustOpen(t, Options{Dir: other})
	if !c.Recovery().Copied || c.ID() != l.ID() || c.Stats().Records != 2 {
		t.Fatalf("the copy: %+v", c.Recovery())
	}
	if err := c.Renew("it is a copy"); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, c, "c")
	if b := mustRead(t, c); c.ID() == l.ID() || !cmp.Equal(payloads(b), []string{"c"}) || b.From != 0 || b.Before != "" {
		t.Errorf("the new log: %s, %+v", c.ID(), b)
	}
	if set, err := filepath.Glob(filepath.Join(other, quarantineName, l.ID()+"-*")); err != nil || len(set) == 0 {
		t.Errorf("set aside: %v, %v", set, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if c = mustOpen(t, Options{Dir: other}); c.Recovery().Copied || len(payloads(mustRead(t, c))) != 1 {
		t.Errorf("opened again: %+v", c.Recovery())
	}
}

// A folder was moved to another disk. It is said to be a copy until somebody takes it over,
// and goes on with the same history.
func TestAdopt_takes_a_copy_over(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	l := mustOpen(t, Options{Dir: dir})
	mustAppend(t, l, "a")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, copied := range []bool{true, true, false} {
		c := mustOpen(t, Options{Dir: other})
		if c.Recovery().Copied != copied || c.ID() != l.ID() || c.Stats().Records == 0 {
			t.Fatalf("copied should be %v: %+v", copied, c.Recovery())
		}
		mustAppend(t, c, "b")
		if c.Stats().Records == 3 {
			if err := c.Adopt(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A ledger that lost its newest history gets it again, as far back as is kept; one that has
// another history is told so.
func TestRewind_stays_within_what_is_kept(t *testing.T) {
	now := time.Now()
	l := mustOpen(t, Options{Dir: t.TempDir(), SegmentBytes: 1024, Keep: time.Hour, Now: func() time.Time { return now }})
	hashes := map[int64]string{}
	for i := range int64(12) {
		mustAppend(t, l, strings.Repeat("x", 300))
		b := mustRead(t, l)
		hashes[b.To] = b.After
		if i == 6 {
			now = now.Add(2 * time.Hour)
		}
		if err := l.Advance(b.To); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Rewind(9, hashes[9]); err != nil {
		t.Fatal(err)
	}
	if b := mustRead(t, l); b.From != 9 || b.Before != hashes[9] || b.To == 9 {
		t.Errorf("after rewinding: %+v", b)
	}
	if err := l.Rewind(12, hashes[12]); err != nil {
		t.Errorf("forward again: %v", err)
	}
	if err := l.Rewind(1, hashes[1]); !errors.Is(err, ErrNotKept) {
		t.Errorf("to what is not kept: %v", err)
	}
	for to, hash := range map[int64]string{9: hashes[8], 11: "nonsense", 13: hashes[12], -1: ""} {
		if err := l.Rewind(to, hash); !errors.Is(err, ErrHistory) {
			t.Errorf("to another history, %d: %v", to, err)
		}
	}
}

// A byte changes in the middle of a log: its segment is quarantined with an alarm; what is
// before the damage, and in all other segments, is still there.
func TestOpen_quarantines_a_damaged_segment(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, SegmentBytes: 1024, Keep: 1}
	l := mustOpen(t, o)
	for c := byte('a'); c < 'i'; c++ {
		mustAppend(t, l, strings.Repeat(string(c), 100)) // three in a segment
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, segmentName(3))
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[headerSize+bytes.Index(data[headerSize:], []byte("eeee"))] = 'x'
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, o)
	if got := l.Recovery().Quarantined; !cmp.Equal(got, []string{segmentName(3)}) || l.Stats().Quarantined != 1 {
		t.Errorf("quarantined %v", got)
	}
	got, lost := "", int64(0)
	for b := mustRead(t, l); b.To > b.From; b = mustRead(t, l) {
		for _, p := range payloads(b) {
			got += p[:1]
		}
		lost += b.Lost
		if err := l.Advance(b.To); err != nil {
			t.Fatal(err)
		}
	}
	if got != "abcdgh" || lost != 2 {
		t.Errorf("read %s, %d lost", got, lost)
	}
	mustAppend(t, l, "z")
	if err := l.Advance(mustRead(t, l).To); err != nil {
		t.Fatal(err)
	}
	if set, err := filepath.Glob(filepath.Join(dir, quarantineName, "*"+segmentName(3))); err != nil || len(set) != 1 {
		t.Errorf("set aside: %v, %v", set, err)
	}
}

// A byte changes under a running log: the reader goes on behind it, and says what is lost.
func TestRead_quarantines_a_damaged_segment(t *testing.T) {
	fs := newSimFS(1)
	l := mustOpen(t, Options{Dir: simDir, FS: fs})
	mustAppend(t, l, "a", "damaged", "c") // a word that no header, time or checksum has in it
	content := fs.names[fs.segments()[0]].live
	content[bytes.Index(content, []byte("damaged"))] ^= 1
	b := mustRead(t, l)
	if !cmp.Equal(payloads(b), []string{"a"}) {
		t.Fatalf("before the damage: %q", payloads(b))
	}
	if err := l.Advance(b.To); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "d")
	if b = mustRead(t, l); b.From != 1 || b.Lost != 2 || b.To != 4 || !cmp.Equal(payloads(b), []string{"d"}) {
		t.Errorf("behind the damage: %+v", b)
	}
	if s := l.Stats(); s.Quarantined != 1 || s.LastError == nil {
		t.Errorf("no alarm: %+v", s)
	}
}

// While the disk takes nothing, records are refused with the cause; when it does again, so
// does the log, by itself. What was promised is there, and what was refused is not.
func TestLog_outlives_a_full_disk(t *testing.T) {
	for name, fault := range map[string]struct {
		set func(fs *simFS, on bool)
		is  error
	}{
		"full": {func(fs *simFS, on bool) { fs.full = on }, syscall.ENOSPC},
		"EIO":  {func(fs *simFS, on bool) { fs.failSync = map[bool]int{true: 1 << 30}[on] }, syscall.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := newSimFS(1)
				l := mustOpen(t, Options{Dir: simDir, FS: fs, SegmentBytes: 1024})
				mustAppend(t, l, strings.Repeat("a", 400))
				fs.mu.Lock()
				fault.set(fs, true)
				fs.mu.Unlock()
				ticket, err := l.Append([16]byte{}, make([]byte, 400))
				if err != nil {
					t.Fatal(err)
				}
				if err := ticket.Wait(t.Context()); !errors.Is(err, ErrBroken) || !errors.Is(err, fault.is) {
					t.Errorf("the ticket: %v", err)
				}
				if _, err := l.Append([16]byte{}, nil); !errors.Is(err, ErrBroken) || !l.Stats().Broken {
					t.Errorf("the next: %v", err)
				}
				fs.mu.Lock()
				fault.set(fs, false)
				fs.mu.Unlock()
				time.Sleep(2 * retryEvery)
				synctest.Wait()
				mustAppend(t, l, "b")
				got := payloads(mustRead(t, l))
				if len(got) == 1 {
					if err := l.Advance(1); err != nil {
						t.Fatal(err)
					}
					got = append(got, payloads(mustRead(t, l))...)
				}
				if !cmp.Equal(got, []string{strings.Repeat("a", 400), "b"}) || l.Stats().Broken || l.Stats().Rejected != 2 {
					t.Errorf("read %q, %+v", got, l.Stats())
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// The disk is full when the ledger has counted a batch. The log goes on from there, and says what
// is wrong for as long as it is; nothing that the cursor on the disk still needs is removed, and
// when there is room again that one follows by itself.
func TestAdvance_outlives_a_full_disk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newSimFS(1)
		l := mustOpen(t, Options{Dir: simDir, FS: fs, SegmentBytes: 1024, Keep: -1})
		long := strings.Repeat("a", 600)
		mustAppend(t, l, long, "b"+long, "c")
		full := func(on bool) {
			fs.mu.Lock()
			defer fs.mu.Unlock()
			fs.full = on
		}
		full(true)
		for b := mustRead(t, l); b.To > b.From; b = mustRead(t, l) {
			if err := l.Advance(b.To); err != nil {
				t.Fatal(err)
			}
		}
		s := l.Stats()
		if !errors.Is(s.Trouble, syscall.ENOSPC) || s.Broken || s.Records != 0 || s.Bytes != 0 || l.Uploaded() != 3 {
			t.Errorf("while the disk is full: %+v", s)
		}
		if known, err := readPosition(fs, simDir, l.state.id); err != nil || known.cursor.number != 0 || l.kept() != 0 {
			t.Errorf("on the disk the cursor is at %d, and what is before %d is removed: %v", known.cursor.number, l.kept(), err)
		}
		full(false)
		time.Sleep(2 * retryEvery)
		synctest.Wait()
		known, err := readPosition(fs, simDir, l.state.id)
		if s := l.Stats(); s.Trouble != nil || err != nil || known.cursor.number != 3 || l.kept() == 0 {
			t.Errorf("afterwards the cursor on the disk is at %d, what is before %d is removed, and %+v: %v", known.cursor.number, l.kept(), s, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// There is no room for a segment. Nothing of a record that is refused is on the disk, and its
// caller is told so; the log says that it would refuse others, and why.
func TestAppend_tells_that_nothing_is_written(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newSimFS(1)
		l := mustOpen(t, Options{Dir: simDir, FS: fs, SegmentBytes: 1024})
		if err := l.Refuses(); err != nil {
			t.Errorf("before anything was tried: %v", err)
		}
		broken := func(size int, set func(), unwritten bool) {
			t.Helper()
			fs.mu.Lock()
			set()
			fs.mu.Unlock()
			ticket, err := l.Append([16]byte{1}, make([]byte, size))
			if err != nil {
				t.Fatal(err)
			}
			if err := ticket.Wait(t.Context()); !errors.Is(err, ErrBroken) || ticket.Unwritten() != unwritten {
				t.Errorf("nothing is written: %v, want %v: %v", ticket.Unwritten(), unwritten, err)
			}
			if s := l.Stats(); !errors.Is(l.Refuses(), ErrBroken) || !strings.Contains(s.Trouble.Error(), simDir) {
				t.Errorf("%v, %v", l.Refuses(), s.Trouble)
			}
			fs.mu.Lock()
			fs.full, fs.failSync = false, 0
			fs.mu.Unlock()
			time.Sleep(2 * retryEvery)
			synctest.Wait()
			if err := l.Refuses(); err != nil || l.Stats().Trouble != nil {
				t.Errorf("afterwards: %v, %+v", err, l.Stats())
			}
		}
		full := func() { fs.full = true }
		broken(400, full, true)
		mustAppend(t, l, strings.Repeat("a", 200))           // into the segment that was made meanwhile
		broken(100, func() { fs.failSync = 1 << 30 }, false) // there it may be found
		mustAppend(t, l, strings.Repeat("b", 400))           // which leaves too little room
		broken(400, full, true)                              // for this one
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// The figures tell what waits, and since when.
func TestStats_tell_what_waits(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := mustOpen(t, Options{Dir: t.TempDir(), Now: func() time.Time { return now }})
	if s := l.Stats(); s.Records != 0 || s.Bytes != 0 || s.Oldest != 0 || s.LastError != nil {
		t.Errorf("empty: %+v", s)
	}
	mustAppend(t, l, "a")
	now = now.Add(time.Minute)
	mustAppend(t, l, "b")
	const record = recordHead + 1
	if s := l.Stats(); s.Records != 2 || s.Bytes != 2*record || s.Oldest != time.Minute || s.Syncs != 2 {
		t.Errorf("two: %+v", s)
	}
	if err := l.Advance(1); err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.Records != 1 || s.Bytes != record || s.Oldest != 0 {
		t.Errorf("one: %+v", s)
	}
	if err := l.Advance(3); err == nil {
		t.Error("advanced to where nothing is")
	}
	if err := l.Advance(0); err == nil {
		t.Error("advanced backwards")
	}
}

// A process that opens a log finds its last group, which nobody may have made durable, and writes
// it again. That is no record that waits for the disk: what is counted is nothing.
func TestStats_after_a_restart_tell_what_waits(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir, SegmentBytes: 1024})
	mustAppend(t, l, strings.Repeat("a", 600), strings.Repeat("b", 600), strings.Repeat("c", 100))
	waits := int64(0)
	for to := int64(3); to >= 2; to-- {
		if err := l.Rewind(to, hashAt(t, l, to)); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, Options{Dir: dir, SegmentBytes: 1024})
		if s := l.Stats(); s.Records != 3-to || s.Bytes != waits {
			t.Errorf("%d are counted of 3: %+v, want %d bytes", to, s, waits)
		}
		waits += recordHead + 100
	}
}

// hashAt is the hash at a place of a log.
func hashAt(t *testing.T, l *Log, number int64) string {
	t.Helper()
	l.reading.Lock()
	defer l.reading.Unlock()
	p, known, err := l.find(number)
	if err != nil || !known {
		t.Fatalf("the log does not know %d: %v", number, err)
	}
	return p.hash.text()
}

// Appending allocates nothing of its own: buffers are used again.
func TestAppend_allocs(t *testing.T) {
	l, err := open(Options{Dir: simDir, FS: newSimFS(1), MaxBytes: 1 << 40, SegmentBytes: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, 200)
	fill := func() {
		for range 1000 {
			if _, err := l.Append([16]byte{1}, payload); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 4 { // both buffers grow
		fill()
		l.take()
		l.settle(&group{}, l.state.queue)
	}
	var queue []byte
	var g *group
	got := testing.AllocsPerRun(100, func() {
		fill()
		g, queue = l.take()
		l.settle(g, queue)
	})
	if got > 3 { // a group and what tells that it is done, for 1000 records
		t.Errorf("%v allocations for 1000 records", got)
	}
}

// Walk shows all that is kept, over all segments, counted or not, and moves nothing.
func TestWalk_shows_what_is_kept(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir(), SegmentBytes: 1024})
	var want []string
	for c := byte('a'); c < 'i'; c++ {
		want = append(want, strings.Repeat(string(c), 100)) // three in a segment
	}
	mustAppend(t, l, want...)
	if err := l.Advance(1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var got []string
		err := l.Walk(func(r Record) error {
			got = append(got, string(r.Payload))
			return nil
		})
		if err != nil || !cmp.Equal(got, want) {
			t.Fatalf("walked over %d of %d, %v", len(got), len(want), err)
		}
	}
	full := errors.New("enough")
	if err := l.Walk(func(Record) error { return full }); !errors.Is(err, full) {
		t.Errorf("the end of a walk: %v", err)
	}
	if b := mustRead(t, l); b.From != 1 || l.Uploaded() != 1 || l.End() != int64(len(want)) {
		t.Errorf("after walking: %+v, %d, %d", b, l.Uploaded(), l.End())
	}
}

// The newest records are gone from the disk, though the log had been closed: that is no torn
// end. Their numbers are not used again, for the ledger may have counted them.
func TestOpen_tells_that_the_end_is_gone(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir})
	mustAppend(t, l, "a", "b", "c")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, segmentName(0)), headerSize+recordHead+1+10); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, Options{Dir: dir})
	if found := l.Recovery(); found.Behind != 2 || !cmp.Equal(found.Quarantined, []string{segmentName(0)}) {
		t.Errorf("behind: %+v", found)
	}
	mustAppend(t, l, "d")
	first := mustRead(t, l)
	if err := l.Advance(first.To); err != nil {
		t.Fatal(err)
	}
	second := mustRead(t, l)
	if err := l.Rewind(1, second.Before[1:]+"0"); !errors.Is(err, ErrHistory) {
		t.Errorf("rewound before what is lost, to another history: %v", err)
	}
	if got := append(payloads(first), payloads(second)...); !cmp.Equal(got, []string{"a", "d"}) || second.Lost != 2 || second.To != 4 {
		t.Errorf("read %q, %+v", got, second)
	}
}
