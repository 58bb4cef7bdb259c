package server

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
)

// How long and how many requests wait for the revision that they demand, and how often it is
// looked for.
const (
	maxWait    = 200 * time.Millisecond
	maxWaiters = 4096 // as many as a listener has connections: one that waits costs no more than its own
	lookEvery  = 2 * time.Millisecond
)

var (
	headerMinRevision = []byte("Tiergate-Min-Revision")
	headerRevision    = []byte("Tiergate-Revision")
)

// Revisions is what a door knows about the state in force. Safe for concurrent use, and not
// to be copied after its first use.
type Revisions struct {
	Evaluator tiergate.Evaluator
	// AsOf says what time the state in force is of; nil means that it is never stale. It is
	// asked for each request.
	AsOf func() time.Time
	// StaleAfter is the age from which answers say that they are stale; 0 means never.
	StaleAfter time.Duration

	lookout lookout
}

// Stale says whether answers are to say that they are.
func (s *Revisions) Stale(now time.Time) bool {
	return s.AsOf != nil && s.StaleAfter > 0 && now.Sub(s.AsOf()) > s.StaleAfter
}

// Demanded returns gen, or when the request demands a later revision a generation that is
// at least there; see AtLeast. Otherwise it is nil, and status and detail are the answer: 503
// when we are behind, so that the caller tries again, and 412 for another history.
func (s *Revisions) Demanded(ctx *fasthttp.RequestCtx, gen tiergate.Generation) (_ tiergate.Generation, status int, detail string) {
	want := View(ctx.Request.Header.PeekCanonical(headerMinRevision))
	if want == "" {
		return gen, 0, ""
	}
	gen, err := s.AtLeast(context.Background(), want, gen)
	switch tiergate.CodeOf(err) {
	case "":
		return gen, 0, ""
	case tiergate.Invalid:
		return nil, fasthttp.StatusBadRequest, err.Error()
	case tiergate.Stale:
		return nil, fasthttp.StatusPreconditionFailed, err.Error()
	}
	ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
	return nil, fasthttp.StatusServiceUnavailable, err.Error()
}

// AtLeast returns gen, or a generation that is at least at the revision that want names, as
// clients write it, waiting for a moment if need be. Errors are Invalid for what is no revision,
// Unavailable when we are behind, and Stale, at once, when the revision is of another history than
// ours, of which nobody can say whether it is older.
func (s *Revisions) AtLeast(ctx context.Context, want string, gen tiergate.Generation) (tiergate.Generation, error) {
	cut := strings.LastIndexByte(want, '-')
	rev, err := strconv.ParseInt(want[cut+1:], 10, 64)
	if cut < 0 || err != nil || rev < 0 {
		return nil, tiergate.Errorf(tiergate.Invalid, "Tiergate-Min-Revision is not a revision")
	}
	epoch := want[:cut]
	if there, _ := reached(gen, epoch, rev); there != nil {
		return there, nil
	}
	if now, err := reached(s.Evaluator.Generation(), epoch, rev); now != nil || err != nil {
		return now, err
	}
	return s.await(ctx, epoch, rev)
}

// reached returns gen when it is at or past a revision, and nil when it is before. The error is for
// a revision of another history.
func reached(gen tiergate.Generation, epoch string, rev int64) (tiergate.Generation, error) {
	switch r := gen.Resume(); {
	case r.Epoch[:min(8, len(r.Epoch))] != epoch:
		return nil, tiergate.Errorf(tiergate.Stale, "the demanded revision is of another history than the one in force")
	case r.Rev < rev:
		return nil, nil
	}
	return gen, nil
}

// await waits for a generation at or past a revision.
func (s *Revisions) await(ctx context.Context, epoch string, rev int64) (tiergate.Generation, error) {
	behind := tiergate.Errorf(tiergate.Unavailable, "the demanded revision is not in force here yet")
	if !s.lookout.enter(s.Evaluator) {
		return nil, behind
	}
	defer s.lookout.leave()
	end := time.NewTimer(maxWait)
	defer end.Stop()
	for over := false; ; {
		more := s.lookout.another() // before the look, so that nothing comes between
		if gen, err := reached(s.Evaluator.Generation(), epoch, rev); gen != nil || err != nil {
			return gen, err
		}
		if over {
			return nil, behind
		}
		select {
		case <-more:
		case <-end.C:
			over = true // after one more look: maybe nobody has looked for a while
		case <-ctx.Done():
			return nil, behind
		}
	}
}

// A lookout looks for other generations while somebody waits for one, for all of them: a look
// costs a pointer read, and thousands of timers much more. The zero value is ready.
type lookout struct {
	mu      sync.Mutex
	waiting int
	more    chan struct{}   // closed when another generation is in force; nil while nobody looks
	last    tiergate.Resume // of the generation that was seen last
}

// enter lets the caller wait until it leaves, and reports whether it may.
func (l *lookout) enter(e tiergate.Evaluator) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == maxWaiters {
		return false
	}
	l.waiting++
	if l.more == nil {
		l.more = make(chan struct{})
		go l.look(e)
	}
	return true
}

func (l *lookout) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting--
}

// another returns a channel that is closed when another generation is in force.
func (l *lookout) another() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.more
}

// look looks again and again, until nobody waits any more.
func (l *lookout) look(e tiergate.Evaluator) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for range tick.C {
		if !l.saw(e.Generation().Resume()) {
			return
		}
	}
}

// saw tells those who wait when the generation in force is another one, and reports whether
// anybody waits.
func (l *lookout) saw(now tiergate.Resume) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == 0 {
		l.more = nil
		return false
	}
	if now != l.last {
		l.last = now
		close(l.more)
		l.more = make(chan struct{})
	}
	return true
}

// AppendRevision appends the revision as clients see it: what Resume.Revision returns.
func AppendRevision(b []byte, r *tiergate.Resume) []byte {
	b = append(append(b, r.Epoch[:min(8, len(r.Epoch))]...), '-')
	return strconv.AppendInt(b, r.Rev, 10)
}

// SetRevision tells the caller which revision answered.
func SetRevision(ctx *fasthttp.RequestCtx, revision []byte) {
	ctx.Response.Header.SetCanonical(headerRevision, revision)
}
