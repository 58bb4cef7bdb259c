package evaluator_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
)

// population is a whole state of so many flags, teams and users with one membership each,
// as a source yields it: one thing at a time, without ever holding all.
func population(flags, teams, users int) tiergate.Revision {
	return tiergate.Revision{Resume: resume(1), Whole: true, Changes: func(yield func(tiergate.Change, error) bool) {
		put := func(thing any) bool { return yield(tiergate.PutOf(thing), nil) }
		for i, key := range []string{"free", "pro", "enterprise"} {
			if !put(&tiergate.Tier{Key: key, Name: strings.ToTitle(key), Rank: i}) {
				return
			}
		}
		for i := range flags {
			if !yield(popularFlag(i, 1), nil) {
				return
			}
		}
		for i := range teams {
			if !put(&tiergate.Team{
				ID: uuid("t", i), Name: name("team", i), OwnerID: uuid("u", i), Tier: "pro", Status: "active",
				Settings: tiergate.TeamSettings{MaxMembers: 5}, Version: 1, CreatedAt: now, UpdatedAt: now,
			}) {
				return
			}
		}
		for i := range users {
			if !put(&tiergate.User{ID: uuid("u", i), Tier: "free", Attributes: raw(`{"plan":"x"}`)}) {
				return
			}
		}
		for i := range users {
			if !put(&tiergate.Member{TeamID: uuid("t", i%max(teams, 1)), UserID: uuid("u", i), Role: tiergate.RoleMember}) {
				return
			}
		}
	}}
}

// uuid looks like one, and differs from its neighbours at both ends as UUIDv7s do not.
func uuid(kind string, n int) string {
	return fmt.Sprintf("0192%s000-7000-8000-8000-%012d", kind, n)[:36]
}

func popularFlag(i int, version int64) tiergate.Change {
	return boolean(name("flag", i), func(f *tiergate.Flag) {
		f.ID, f.Title, f.Description, f.Version = uuid("f", i), "The flag", "What the flag is for, in a sentence", version
		f.CreatedAt, f.UpdatedAt = now, now
		f.Metadata = map[string]any{"owner": "web"}
		switch i % 10 {
		case 0, 1:
			f.Rules.Tiers = []string{"pro", "enterprise"}
		case 2:
			f.Rules.Targeting = raw(`{"if":[{"in":[{"var":"country"},["CH","DE"]]},{"fractional":[["on",25],["off",75]]},"off"]}`)
		}
	})
}

// BenchmarkScale reports how long a whole state takes and what it holds in memory after
// 100 revisions of one flag and one user each.
func BenchmarkScale(b *testing.B) {
	for _, n := range []struct{ flags, teams, users int }{
		{10, 0, 0}, {1_000, 0, 0}, {10_000, 0, 0}, {100_000, 0, 0}, {10_000, 100_000, 1_000_000},
	} {
		b.Run(fmt.Sprintf("flags=%d/users=%d", n.flags, n.users), func(b *testing.B) {
			for b.Loop() {
				e := newEngine(evaluator.Options{})
				begin := time.Now()
				apply(b, e, population(n.flags, n.teams, n.users))
				b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms/whole")
				for rev := range 100 {
					apply(b, e, step(int64(rev+2), popularFlag(rev, 2),
						tiergate.PutOf(&tiergate.User{ID: uuid("u", rev), Tier: "pro"})))
				}
				b.ReportMetric(settledRSS(b), "MiB-rss")
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MiB-live")
				runtime.KeepAlive(e)
			}
		})
	}
}

// settledRSS waits until what the engine gives back in the background is given back.
func settledRSS(tb testing.TB) float64 {
	tb.Helper()
	least, since := rssMiB(tb), time.Now()
	for time.Since(since) < 3*time.Second {
		time.Sleep(100 * time.Millisecond)
		if now := rssMiB(tb); now < least*0.98 {
			least, since = now, time.Now()
		}
	}
	return rssMiB(tb)
}

func rssMiB(tb testing.TB) float64 {
	tb.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0 // not Linux
	}
	for line := range strings.Lines(string(status)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kb); err == nil {
			return kb / 1024
		}
	}
	return 0
}
