package quota

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota/spool"
)

// A fullDisk makes no new file while it is full. What is there can be written to.
type fullDisk struct {
	spool.FS
	full *atomic.Bool
}

func (d fullDisk) Open(name string, flag int) (spool.File, error) {
	if flag&os.O_CREATE != 0 && d.full.Load() {
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.ENOSPC}
	}
	return d.FS.Open(name, flag)
}

func openOn(t testing.TB, d fullDisk, ledger *ledgerLine, dir string) *Engine {
	t.Helper()
	e, err := Open(Options{Ledger: ledger, Gauges: ledger.Memory, Dir: dir, Spool: spool.Options{FS: d}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// The disk is full, but the segment that is there has room. Uses go on, and the ledger counts
// them; that the disk does not take the cursor is told for as long as it is so, and nobody takes
// it for another history. A process that is killed meanwhile loses nothing: the next one is told
// by the ledger where to go on, and what was held and not used is free again.
func TestEngine_on_a_full_disk_counts_on(t *testing.T) {
	line, dir := &ledgerLine{Memory: &Memory{}}, t.TempDir()
	disk := fullDisk{spool.Disk(), new(atomic.Bool)}
	e := openOn(t, disk, line, dir)
	c, used := monthly(t, 1_000, 1), int64(0)
	use := func(n int) {
		t.Helper()
		for range n {
			if r := reasonOf(t, e, take(c)); r != tiergate.UseAllowed {
				t.Fatalf("a use is %s", r)
			}
			used++
		}
		eventuallyIs(t, "the ledger has counted it", func() bool { return bucketOf(t, line.Memory).used == used })
	}
	noAlarm := func(when string, trouble error) {
		t.Helper()
		eventuallyIs(t, "the page tells of the disk "+when, func() bool { return errors.Is(e.Stats().Spool.Trouble, trouble) })
		if s := e.Stats(); s.Conflicts+s.Abandoned+s.Fenced != 0 {
			t.Errorf("%s: %d conflicts, %d abandoned, %d fenced", when, s.Conflicts, s.Abandoned, s.Fenced)
		}
	}
	use(3)
	eventuallyIs(t, "the log is counted", func() bool { return e.Stats().Spool.Records == 0 })
	disk.full.Store(true)
	for range 3 {
		use(2)
		noAlarm("while it is full", syscall.ENOSPC)
	}
	disk.full.Store(false)
	noAlarm("when there is room again", nil)

	disk.full.Store(true)
	use(2)
	noAlarm("while it is full again", syscall.ENOSPC)
	crash(t, e)
	disk.full.Store(false)
	e = openOn(t, disk, line, dir)
	eventuallyIs(t, "the former process is retired", func() bool { s := e.Stats(); return s.Former == 0 && s.Spool.Records == 0 })
	noAlarm("after a restart", nil)
	use(1)
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b := bucketOf(t, line.Memory); b.used != used || b.leased+b.forfeited != 0 {
		t.Errorf("used %d, leased %d, forfeited %d; want %d, 0, 0", b.used, b.leased, b.forfeited, used)
	}
}

// The disk has no room for a segment. Uses are refused, a check says so as well, and what was
// taken for them is back at once. When there is room again, so is the log, by itself.
func TestEngine_without_room_for_its_log_takes_nothing(t *testing.T) {
	line := &ledgerLine{Memory: &Memory{}}
	disk := fullDisk{spool.Disk(), new(atomic.Bool)}
	e := openOn(t, disk, line, t.TempDir())
	defer func() {
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	disk.full.Store(true)
	c := monthly(t, 1_000, 1)
	c.Units = 7
	refused := func(what string, o Outcome) {
		t.Helper()
		if o.Reason != tiergate.UseUnavailable || o.RetryAfter == 0 || o.Message != "Usage cannot be recorded" {
			t.Errorf("a %s is %+v", what, o)
		}
	}
	for range 3 {
		out, _, err := e.Consume(t.Context(), take(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		refused("use", out)
		out, _ = e.Check(t.Context(), take(c), nil)
		refused("check", out)
		if out, err = e.Track(t.Context(), take(c)); err != nil {
			t.Fatal(err)
		}
		refused("record", out)
	}
	if s := e.Stats(); s.Unrecorded != 6 || s.Spool.Rejected != 6 {
		t.Errorf("%d uses are said to be refused, by the log %d, want 6", s.Unrecorded, s.Spool.Rejected)
	}
	if b := bucketOf(t, line.Memory); b.used != 0 || e.Stats().Held != b.leased {
		t.Errorf("%d are used, and of %d that are leased %d may be spent", b.used, b.leased, e.Stats().Held)
	}
	disk.full.Store(false)
	eventuallyIs(t, "a check says yes", func() bool {
		out, _ := e.Check(t.Context(), take(c), nil)
		return out.Reason == tiergate.UseAllowed
	})
	if r := reasonOf(t, e, take(c)); r != tiergate.UseAllowed {
		t.Errorf("when there is room again, a use is %s", r)
	}
	eventuallyIs(t, "it is counted", func() bool { return bucketOf(t, line.Memory).used == 7 })
}

// What nobody has is no usage of anybody: it is counted, but not under a name that a caller made up.
func TestEngine_counts_what_there_is_not_by_reason_only(t *testing.T) {
	line := &ledgerLine{Memory: &Memory{}}
	e := openLine(t, line, t.TempDir())
	for _, r := range []tiergate.UseReason{tiergate.UseFlagNotFound, tiergate.UseInvalid, tiergate.UseUnavailable, tiergate.UseTier} {
		e.Deny(take(), r)
		if n := e.Stats().Denied[r]; n != 1 {
			t.Errorf("%d uses were denied for %s, want 1", n, r)
		}
	}
	var told []tiergate.Denial
	eventuallyIs(t, "what was denied is counted", func() bool {
		line.mu.Lock()
		defer line.mu.Unlock()
		for d := range line.denials {
			told = append(told, d)
		}
		return len(told) > 0
	})
	if want := e.Now().UTC().Truncate(time.Hour); len(told) != 1 || told[0].Reason != tiergate.UseTier || told[0].Hour.After(want) {
		t.Errorf("what is told of denials is %+v", told)
	}
}
