package quota

import (
	"testing"

	"github.com/tiergate/tiergate"
)

// forgeLog makes the ledger believe that it has counted another log of the same name.
func forgeLog(m *Memory, log string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.logs[log] = uploadedLog{at: m.logs[log].at, hash: "another"}
}

// The usage log begins anew, because the ledger knows another one of its name, and the process
// is killed some time after. What it used since then is counted, what it did not use is
// given back to the unit, and only the one use that went down with the old log stays set aside.
func TestEngine_killed_after_its_log_began_anew_gives_back_what_was_not_used(t *testing.T) {
	line := &ledgerLine{Memory: &Memory{}}
	dir := t.TempDir()
	e := doomed(t, line, dir)
	c := monthly(t, 100, 1)
	use := func(n int) {
		t.Helper()
		for range n {
			if r := reasonOf(t, e, take(c)); r != tiergate.UseAllowed {
				t.Fatal(r)
			}
		}
	}
	use(5)
	eventuallyIs(t, "the usage is counted", func() bool { return e.Stats().Spool.Records == 0 })
	before, first := e.usage.ID(), e.holder.Load().id
	forgeLog(line.Memory, before)
	use(1)
	eventuallyIs(t, "the log begins anew", func() bool { return e.usage.ID() != before })
	eventuallyIs(t, "the counters are of the new log", func() bool {
		return e.holder.Load().counters.head.Log == e.usage.ID() && e.Stats().Former == 0
	})
	if h := e.holder.Load(); h.id == first {
		t.Error("the holder is the same, whose usage went down with the old log")
	}
	use(7)
	line.cut.Store(true)
	held := e.Stats().Held
	crash(t, e)
	if held == 0 {
		t.Fatal("the process held nothing")
	}
	line.cut.Store(false)
	again := openLine(t, line, dir)
	eventuallyIs(t, "the former process is retired", func() bool { s := again.Stats(); return s.Former == 0 && s.Spool.Records == 0 })
	if s := again.Stats(); s.Abandoned != 0 {
		t.Errorf("%d former processes are given up", s.Abandoned)
	}
	if b := bucketOf(t, line.Memory); b.used != 12 || b.leased+b.forfeited != 1 {
		t.Errorf("used %d, leased %d, forfeited %d; want 12, and 1 that nobody can tell of", b.used, b.leased, b.forfeited)
	}
	n := 0
	for r := tiergate.UseAllowed; r == tiergate.UseAllowed; n++ {
		if r = reasonOf(t, again, take(c)); r == tiergate.UseContended { // what nobody can tell of looks held
			break
		}
	}
	if n != 100-12-1 {
		t.Errorf("%d more were admitted, want %d", n, 100-12-1)
	}
}
