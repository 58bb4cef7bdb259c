package quota

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota/spool"
)

// crash ends an engine as kill -9 does: nothing is uploaded, nothing is given back, and the
// files stay as they are.
func crash(t testing.TB, e *Engine) {
	t.Helper()
	e.stop()
	e.done.Wait()
	if err := e.usage.Close(); err != nil {
		t.Fatal(err)
	}
	for _, h := range e.incarnations() {
		if err := h.counters.close(false); err != nil {
			t.Fatal(err)
		}
	}
}

// doomed starts an engine that a test crashes.
func doomed(t testing.TB, l tiergate.Ledger, dir string) *Engine {
	t.Helper()
	e, err := Open(Options{Ledger: l, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// bucketOf returns what the ledger knows of the only bucket.
func bucketOf(t testing.TB, m *Memory) bucket {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.buckets) != 1 {
		t.Fatalf("there are %d buckets", len(m.buckets))
	}
	for _, b := range m.buckets {
		return *b
	}
	return bucket{}
}

func useUp(t testing.TB, e *Engine, c Claim) (admitted int) {
	t.Helper()
	for {
		switch r := reasonOf(t, e, take(c)); r {
		case tiergate.UseAllowed:
			admitted++
		case tiergate.UseExhausted:
			return admitted
		case tiergate.UseContended:
			time.Sleep(10 * time.Millisecond)
		default:
			t.Fatal(r)
		}
	}
}

// A killed process left units that it had not used and usage that it had not uploaded. The
// next one uploads the usage and gives the units back: nothing is lost and nothing is
// stranded.
func TestEngine_after_a_kill_gives_back_what_was_not_used(t *testing.T) {
	line := &ledgerLine{Memory: &Memory{}}
	dir := t.TempDir()
	e := doomed(t, line, dir)
	c := monthly(t, 100, 1)
	for range 7 {
		if r := reasonOf(t, e, take(c)); r != tiergate.UseAllowed {
			t.Fatal(r)
		}
	}
	line.cut.Store(true) // nothing more is uploaded
	crash(t, e)
	if b := bucketOf(t, line.Memory); b.leased+b.used <= 7 {
		t.Fatalf("the process held nothing: %+v", b)
	}
	line.cut.Store(false)
	again := openLine(t, line, dir)
	eventuallyIs(t, "the former process is retired", func() bool { return again.Stats().Former == 0 })
	if b := bucketOf(t, line.Memory); b.used != 7 || b.leased != 0 || b.forfeited != 0 {
		t.Errorf("used %d, leased %d, forfeited %d; want 7, 0, 0", b.used, b.leased, b.forfeited)
	}
	if n := useUp(t, again, c); n != 93 {
		t.Errorf("%d more were admitted, want 93", n)
	}
	if files, err := filepath.Glob(filepath.Join(dir, countersName+"*")); err != nil || len(files) != 1 {
		t.Errorf("there are counter files %q, %v", files, err)
	}
}

// What a former process held is never given back when its counters cannot be trusted: they
// are of another start of the machine, a copy, damaged, or older than the usage log. The
// ledger sets it aside.
func TestEngine_never_gives_back_what_it_cannot_be_sure_of(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"another start of the machine": func(t *testing.T, path string) {
			edit(t, path, func(data []byte) { replaceHead(data, bootID(), "00000000-0000-0000-0000-000000000000") })
		},
		"a copy": func(t *testing.T, path string) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			other := path + ".copy"
			if err := os.WriteFile(other, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(other, path); err != nil {
				t.Fatal(err)
			}
		},
		"a damaged first page": func(t *testing.T, path string) {
			edit(t, path, func(data []byte) { data[len(countersMagic)+1+len(bootID())+1] ^= 1 }) // the holder's name
		},
		"older than the usage log": func(t *testing.T, path string) {
			edit(t, path, func(data []byte) { wordsAt(data, 0)[slotSpent].Store(3) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			line := &ledgerLine{Memory: &Memory{Now: func() time.Time { return now }}}
			dir := t.TempDir()
			e := doomed(t, line, dir)
			c := monthly(t, 100, 1)
			for range 7 {
				if r := reasonOf(t, e, take(c)); r != tiergate.UseAllowed {
					t.Fatal(r)
				}
			}
			crash(t, e)
			held := bucketOf(t, line.Memory)
			spoil(t, e.holder.Load().counters.path)
			now = now.Add(TTL + Grace + time.Second)
			again := openLine(t, line, dir)
			eventuallyIs(t, "the former process is given up", func() bool { s := again.Stats(); return s.Former == 0 && s.Abandoned == 1 })
			n := useUp(t, again, c)
			b := bucketOf(t, line.Memory)
			if want := held.leased + held.used - 7; b.forfeited != want || want == 0 {
				t.Errorf("%d are set aside, want %d", b.forfeited, want)
			}
			if int64(n)+7+b.forfeited != 100 {
				t.Errorf("7 and then %d were admitted beside %d that are set aside, of 100", n, b.forfeited)
			}
		})
	}
}

func edit(t *testing.T, path string, change func(data []byte)) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change(data)
	f, err := os.OpenFile(path, os.O_RDWR, 0) // the same file: a new one would count as a copy
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// replaceHead changes the first page as if it had been written so.
func replaceHead(data []byte, from, to string) {
	lines := strings.SplitN(string(data[:tokenAt]), "\n", 7)
	h := countersHead{Boot: strings.Replace(lines[1], from, to, 1), Holder: lines[2], Log: lines[3]}
	for _, digit := range lines[4] {
		h.Inode = h.Inode*10 + uint64(digit-'0')
	}
	clear(data[:tokenAt])
	copy(data, h.text())
}

// A key that was used before a kill answers the same after it.
func TestEngine_after_a_kill_replays_a_key(t *testing.T) {
	line := &ledgerLine{Memory: &Memory{}}
	dir := t.TempDir()
	e := doomed(t, line, dir)
	u := take(monthly(t, 100, 1))
	u.Key = &tiergate.UsageKey{Scope: "acme", Key: "k", Fingerprint: "f"}
	first, _, err := e.Consume(t.Context(), u, nil)
	if err != nil || first.Reason != tiergate.UseAllowed {
		t.Fatal(first, err)
	}
	line.cut.Store(true)
	crash(t, e)
	line.cut.Store(false)
	e = doomed(t, line, dir)
	again, _, err := e.Consume(t.Context(), u, nil)
	if err != nil || !again.Replayed || again.ID != first.ID {
		t.Errorf("again: %+v, %v; first: %+v", again, err, first)
	}
	eventuallyIs(t, "the usage has been counted", func() bool { return e.Stats().Spool.Records == 0 })
	crash(t, e)
	third, _, err := openLine(t, line, dir).Consume(t.Context(), u, nil)
	if err != nil || !third.Replayed || third.ID != first.ID {
		t.Errorf("once the usage is counted: %+v, %v; first: %+v", third, err, first)
	}
}

// Closed in good order, a process leaves nothing behind: all is uploaded and given back.
func TestEngine_closed_gives_everything_back(t *testing.T) {
	ledger := &Memory{}
	dir := t.TempDir()
	e := doomed(t, ledger, dir)
	for range 5 {
		if r := reasonOf(t, e, take(monthly(t, 100, 1))); r != tiergate.UseAllowed {
			t.Fatal(r)
		}
	}
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b := bucketOf(t, ledger); b.used != 5 || b.leased != 0 {
		t.Errorf("used %d, leased %d; want 5, 0", b.used, b.leased)
	}
	if files, err := filepath.Glob(filepath.Join(dir, countersName+"*")); err != nil || len(files) != 0 {
		t.Errorf("there are counter files %q, %v", files, err)
	}
	if out, _, err := e.Consume(t.Context(), take(monthly(t, 100, 1)), nil); err != nil || out.Reason != tiergate.UseUnavailable {
		t.Errorf("after the end a use is %+v, %v", out, err)
	}
}

// Two processes that speak in one name are told apart: one is fenced, goes on under another
// name, and what the name held is not spent again by it.
func TestEngine_is_fenced_when_another_speaks_in_its_name(t *testing.T) {
	var later atomic.Bool
	ledger := &Memory{Now: func() time.Time {
		if later.Load() {
			return time.Now().Add(TTL + Grace + time.Second)
		}
		return time.Now()
	}}
	e := open(t, ledger, t.TempDir())
	c := monthly(t, 100, 1)
	if r := reasonOf(t, e, take(c)); r != tiergate.UseAllowed {
		t.Fatal(r)
	}
	name := e.holder.Load().id
	_, token := tokensIn(e.holder.Load().counters.data)
	if _, err := ledger.Exchange(t.Context(), tiergate.Exchange{Holder: name, Previous: token, Token: "a clone's"}); err != nil {
		t.Fatal(err)
	}
	eventuallyIs(t, "the process has another name", func() bool { return e.holder.Load().id != name && !e.away() })
	later.Store(true)
	n := useUp(t, e, c)
	b := bucketOf(t, ledger)
	if stranded := b.leases[name].granted - b.leases[name].reported; int64(n)+1+stranded != 100 {
		t.Errorf("1 and then %d were admitted beside %d that are stranded, of 100", n, stranded)
	}
}

// A part of the usage log is damaged. What is before and after it is counted, the damage is
// told, and what the former process held is set aside, since it may have used more than the log
// still tells.
func TestEngine_after_damage_to_the_log_counts_the_rest(t *testing.T) {
	now := time.Now()
	line := &ledgerLine{Memory: &Memory{Now: func() time.Time { return now }}}
	dir := t.TempDir()
	small := spool.Options{SegmentBytes: 4096}
	e, err := Open(Options{Ledger: line, Dir: dir, Spool: small})
	if err != nil {
		t.Fatal(err)
	}
	c := monthly(t, 1_000, 1)
	c.Fallback.Allow = true
	if r := reasonOf(t, e, take(c)); r != tiergate.UseAllowed {
		t.Fatal(r)
	}
	line.cut.Store(true)
	const uses = 60
	for range uses - 1 {
		if r := reasonOf(t, e, take(c)); r != tiergate.UseAllowed {
			t.Fatal(r)
		}
	}
	crash(t, e)
	segments, err := filepath.Glob(filepath.Join(dir, "usage", "*.log"))
	if err != nil || len(segments) < 3 {
		t.Fatalf("%q, %v", segments, err)
	}
	edit(t, segments[1], func(data []byte) { data[1500] ^= 1 })
	line.cut.Store(false)
	now = now.Add(TTL + Grace + time.Second)
	again, err := Open(Options{Ledger: line, Dir: dir, Spool: small})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := again.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	eventuallyIs(t, "what reads is counted", func() bool { return again.Stats().Spool.Records == 0 })
	if s := again.Stats(); s.Abandoned != 1 || s.Spool.Quarantined == 0 {
		t.Errorf("%d former processes are given up and %d segments are quarantined", s.Abandoned, s.Spool.Quarantined)
	}
	if lost := uses - bucketOf(t, line.Memory).used; lost <= 0 || lost >= uses/2 {
		t.Errorf("of %d uses %d are lost with one damaged byte", uses, lost)
	}
	c.Fallback = tiergate.Fallback{}
	n := int64(useUp(t, again, c))
	b := bucketOf(t, line.Memory)
	if b.forfeited == 0 || uses+n > 1_000 {
		t.Errorf("%d are set aside, and %d of 1000 were admitted", b.forfeited, uses+n)
	}
}

// A part of the log is damaged while the process runs, and with it usage that was answered in
// its name. At its end it gives nothing back: it may have used more than is counted.
func TestEngine_gives_nothing_back_when_its_own_usage_is_lost(t *testing.T) {
	line := &ledgerLine{Memory: &Memory{}}
	dir := t.TempDir()
	e, err := Open(Options{Ledger: line, Dir: dir, Spool: spool.Options{SegmentBytes: 4096}})
	if err != nil {
		t.Fatal(err)
	}
	c := monthly(t, 1_000, 1)
	c.Fallback.Allow = true
	if r := reasonOf(t, e, take(c)); r != tiergate.UseAllowed {
		t.Fatal(r)
	}
	line.cut.Store(true)
	for range 60 {
		if r := reasonOf(t, e, take(c)); r != tiergate.UseAllowed {
			t.Fatal(r)
		}
	}
	segments, err := filepath.Glob(filepath.Join(dir, "usage", "*.log"))
	if err != nil || len(segments) < 3 {
		t.Fatalf("%q, %v", segments, err)
	}
	edit(t, segments[1], func(data []byte) { data[1500] ^= 1 })
	line.cut.Store(false)
	eventuallyIs(t, "what reads is counted", func() bool { return e.Stats().Spool.Records == 0 })
	before := bucketOf(t, line.Memory)
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b := bucketOf(t, line.Memory); b.used >= 61 || b.leased == 0 || b.leased != before.leased {
		t.Errorf("used %d; leased were %d and are %d", b.used, before.leased, b.leased)
	}
}
