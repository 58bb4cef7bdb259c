package policy

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiergate/tiergate"
)

// resting remembers whose questions overran lately, so that one caller's costly questions
// cannot take all of the machine's time: after a few within a while the caller is refused
// for a moment, and each further overrun is followed by another. Nobody else is. It is a
// set-associative table of a fixed size; who overran longest ago is forgotten first. The
// zero value is empty and ready to use; it is safe for concurrent use.
type resting struct {
	known atomic.Int32 // entries in use: while there are none, asking takes no lock
	mu    sync.Mutex
	sets  [restingSets][restingWays]overruns
}

// overruns are those of one caller.
type overruns struct {
	who   uint64 // 0 is free
	count int
	last  time.Time // when the last one was
	until time.Time // resting until then; zero is not
}

const (
	restingSets = 256
	restingWays = 4

	breakAfter  = 3                // overruns …
	breakWithin = 10 * time.Second // … each no longer than this after the one before
	restFor     = time.Second
)

func (r *resting) rests(who uint64, now time.Time) bool {
	if r.known.Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	set := &r.sets[who%restingSets]
	for i := range set {
		if set[i].who == who {
			return now.Before(set[i].until)
		}
	}
	return false
}

func (r *resting) overran(who uint64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	set := &r.sets[who%restingSets]
	o := &set[0]
	for i := range set {
		if set[i].who == who {
			o = &set[i]
			break
		}
		if set[i].last.Before(o.last) {
			o = &set[i]
		}
	}
	if o.who == 0 {
		r.known.Add(1)
	}
	if o.who != who || now.Sub(o.last) > breakWithin {
		*o = overruns{who: who}
	}
	o.count, o.last = o.count+1, now
	if o.count >= breakAfter {
		o.until = now.Add(restFor)
	}
}

// forget empties the table.
func (r *resting) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known.Store(0)
	r.sets = [restingSets][restingWays]overruns{}
}

// count returns how many rest.
func (r *resting) count(now time.Time) int {
	if r.known.Load() == 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for i := range r.sets {
		for j := range r.sets[i] {
			if now.Before(r.sets[i][j].until) {
				n++
			}
		}
	}
	return n
}

// whoAsks returns what rests when the question overruns: the user, as this credential
// names it, whatever else is asked. Where no user is named everybody would be nobody, so
// it is the question itself. It is never 0.
func (e *Engine) whoAsks(in *Input) uint64 {
	var h maphash.Hash
	h.SetSeed(e.answers.seed)
	s := &in.Subject
	if s.Key != nil {
		hashText(&h, s.Key.ID)
	}
	hashText(&h, s.UserID)
	if s.UserID == "" {
		hashText(&h, in.Feature.set)
		hashText(&h, in.Feature.name)
		if s.Team != nil {
			hashText(&h, s.Team.row.ID)
		}
		hashValue(&h, in.Attributes)
	}
	return max(h.Sum64(), 1)
}

// whoManages is whoAsks of the admin API.
func (e *Engine) whoManages(c *tiergate.Caller) uint64 {
	var h maphash.Hash
	h.SetSeed(e.answers.seed)
	hashText(&h, "admin API")
	hashText(&h, c.ID)
	return max(h.Sum64(), 1)
}

func hashText(h *maphash.Hash, s string) {
	maphash.WriteComparable(h, len(s))
	_, _ = h.WriteString(s) // which never fails
}

func hashValue(h *maphash.Hash, v tiergate.Value) {
	maphash.WriteComparable(h, v.Kind())
	switch v.Kind() {
	case tiergate.NumberValue, tiergate.StringValue:
		hashText(h, v.Text())
	case tiergate.ArrayValue, tiergate.ObjectValue:
		maphash.WriteComparable(h, v.Len())
		for i := range v.Len() {
			if v.Kind() == tiergate.ObjectValue {
				hashText(h, v.KeyAt(i))
			}
			hashValue(h, v.Index(i))
		}
	}
}
