package evaluator_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
)

// together makes the changes that belong together: two flags, a tier's rank that decides
// who carol is, and, now and then, the policy.
func together(n int) []tiergate.Change {
	variant := map[bool]string{true: "on", false: "off"}[n%2 == 0]
	edit := func(f *tiergate.Flag) { f.DefaultVariant = variant }
	// On even revisions the lowest tier, which unknown users are on, is "even".
	even, odd := -2, -1
	if n%2 == 1 {
		even, odd = -1, -2
	}
	changes := []tiergate.Change{
		boolean("left", edit), boolean("right", edit),
		tiergate.PutOf(&tiergate.Tier{Key: "even", Name: "Even", Rank: even}),
		tiergate.PutOf(&tiergate.Tier{Key: "odd", Name: "Odd", Rank: odd}),
	}
	if n%8 == 0 {
		reason := map[bool]string{true: "first", false: "second"}[n%16 == 0]
		changes = append(changes,
			bundle(int64(n+1), "package tiergate.access\n\ndecision := {\"allow\": true, \"reason\": \""+reason+"\"}\n", nil))
	}
	return changes
}

// tornRevisions is how many revisions come into force at least while readers read.
const tornRevisions = 20

// torn writes revisions while readers pin generations, until so many reads and tornRevisions were
// made. It returns how many generations were torn and how many revisions came into force.
func torn(tb testing.TB, reads int64) (bad, revisions int64) {
	e := newEngine(evaluator.Options{})
	apply(tb, e, whole(1, together(0)...))
	var made, wrong atomic.Int64
	var enough atomic.Bool
	defer enough.Store(true)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ; !enough.Load(); made.Add(1) {
				if !agrees(e.Generation()) {
					wrong.Add(1)
				}
			}
		})
	}
	n := int64(0)
	for made.Load() < reads || n < tornRevisions {
		n++
		apply(tb, e, step(n+1, together(int(n))...))
	}
	enough.Store(true)
	readers.Wait()
	return wrong.Load(), n
}

func agrees(g tiergate.Generation) bool {
	left := g.Decide(&tiergate.Request{Flag: "left", UserID: "somebody", Now: now})
	right := g.Decide(&tiergate.Request{Flag: "right", UserID: "somebody", Now: now})
	want := map[string]string{"on": "even", "off": "odd"}[left.Variant]
	return left.Variant != "" && left.Variant == right.Variant && left.Tier == want && right.Tier == want
}

// Readers that demand two flags and the tiers of one revision to agree find no torn
// generation.
func TestEngine_no_generation_is_torn(t *testing.T) {
	if bad, revisions := torn(t, 200_000); bad != 0 {
		t.Errorf("%d torn generations over %d revisions", bad, revisions)
	}
}

func BenchmarkEngine_no_generation_is_torn(b *testing.B) {
	const reads = 10_000_000
	for b.Loop() {
		bad, revisions := torn(b, reads)
		if bad != 0 {
			b.Fatalf("%d torn generations", bad)
		}
		b.ReportMetric(float64(revisions), "revisions")
		b.ReportMetric(reads, "reads")
	}
}
