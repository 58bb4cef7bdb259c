package server

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
)

// How long, how often and how many requests look for the revision that they demand.
const (
	maxWait    = 200 * time.Millisecond
	lookEvery  = 2 * time.Millisecond
	maxWaiters = 256
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

	waiting atomic.Int32 // the requests that wait for a revision
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
// Unavailable when we are behind, and Stale when the revision is of another history than ours,
// of which nobody can say whether it is older.
func (s *Revisions) AtLeast(ctx context.Context, want string, gen tiergate.Generation) (tiergate.Generation, error) {
	cut := strings.LastIndexByte(want, '-')
	rev, err := strconv.ParseInt(want[cut+1:], 10, 64)
	if cut < 0 || err != nil || rev < 0 {
		return nil, tiergate.Errorf(tiergate.Invalid, "Tiergate-Min-Revision is not a revision")
	}
	epoch := want[:cut]
	if gen = s.await(ctx, gen, epoch, rev); gen != nil {
		return gen, nil
	}
	if now := s.Evaluator.Generation(); now == nil || !ofEpoch(now.Resume(), epoch) {
		return nil, tiergate.Errorf(tiergate.Stale, "the demanded revision is of another history than the one in force")
	}
	return nil, tiergate.Errorf(tiergate.Unavailable, "the demanded revision is not in force here yet")
}

func ofEpoch(r tiergate.Resume, epoch string) bool { return r.Epoch[:min(8, len(r.Epoch))] == epoch }

// await returns a generation at or past a revision, nil when none came in time or before ctx
// ended. It looks again and again: that costs a pointer read, and only for callers that are ahead of us.
func (s *Revisions) await(ctx context.Context, gen tiergate.Generation, epoch string, rev int64) tiergate.Generation {
	reached := func() bool {
		r := gen.Resume()
		return ofEpoch(r, epoch) && r.Rev >= rev
	}
	if reached() {
		return gen
	}
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > maxWaiters {
		return nil
	}
	tick, end := time.NewTicker(lookEvery), time.NewTimer(maxWait)
	defer tick.Stop()
	defer end.Stop()
	for {
		select {
		case <-tick.C:
		case <-end.C:
			return nil
		case <-ctx.Done():
			return nil
		}
		if gen = s.Evaluator.Generation(); reached() {
			return gen
		}
	}
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
