package quota

import (
	"cmp"
	"time"

	"github.com/tiergate/tiergate"
)

// maxForgotten is how many counters that are not in use a holder remembers: 4 MiB or so. Beyond
// it, counters of periods that are over for a week go first; then it is time for another
// holder, see succeed. It is also about how many leases the ledger ends at once when a holder
// is retired.
const maxForgotten = 1 << 16

// forgotten is what must be known of a counter that nobody uses any more, for as long as the
// holder lives. The ledger adds up what a holder was granted and what it reported of a bucket
// over its whole life; one that began anew would be granted again what it has used.
type forgotten struct {
	of      map[[2]int64]trace // by the name of the bucket
	most    int                // 0 is maxForgotten
	thinned time.Time          // when it was last looked through
}

// A trace is a lease that was given back: its last fence, what was spent under all of them,
// and when its period ends, in seconds; 0 is never.
type trace struct{ fence, spent, ends int64 }

// add remembers a lease, and says whether there was room for it.
func (f *forgotten) add(a *account, ledger time.Time) bool {
	if a.fence == 0 {
		return true // it was never asked for
	}
	if len(f.of) >= cmp.Or(f.most, maxForgotten) && !f.thin(ledger) {
		return false
	}
	if f.of == nil {
		f.of = map[[2]int64]trace{}
	}
	t := trace{fence: a.fence, spent: a.spent}
	if !a.period.End.IsZero() {
		t.ends = a.period.End.Unix()
	}
	f.of[traceName(a.bucket)] = t
	return true
}

// take returns a lease as it was given back; a new one when there was none.
func (f *forgotten) take(b tiergate.Bucket) holding {
	name := traceName(b)
	t, known := f.of[name]
	if !known {
		return holding{}
	}
	delete(f.of, name)
	return holding{fence: t.fence, granted: t.spent, spent: t.spent, sealed: true}
}

// thin forgets what nobody can use again.
func (f *forgotten) thin(ledger time.Time) bool {
	if ledger.Sub(f.thinned).Abs() < time.Hour {
		return false
	}
	f.thinned = ledger
	before, old := len(f.of), ledger.Add(-7*24*time.Hour).Unix()
	for name, t := range f.of {
		if t.ends != 0 && t.ends < old {
			delete(f.of, name)
		}
	}
	return len(f.of) < before
}

func traceName(b tiergate.Bucket) [2]int64 {
	n0, n1 := nameOf(b)
	return [2]int64{n0, n1}
}
