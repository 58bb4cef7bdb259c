package ofrep

import (
	"strconv"
	"strings"
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

// reach makes c.gen a generation that is at least at the demanded revision, waiting for a
// moment if need be. Otherwise it answers: 503 when we are behind, so that the caller
// tries again, and 412 when the revision is of another history than ours, of which nobody
// can say whether it is older.
func (d *door) reach(ctx *fasthttp.RequestCtx, c *call, want string) bool {
	cut := strings.LastIndexByte(want, '-')
	rev, err := strconv.ParseInt(want[cut+1:], 10, 64)
	if cut < 0 || err != nil || rev < 0 {
		fail(ctx, fasthttp.StatusBadRequest, tiergate.General, "Tiergate-Min-Revision is not a revision")
		return false
	}
	epoch := want[:cut]
	if c.gen = d.await(c.gen, epoch, rev); c.gen != nil {
		return true
	}
	if now := d.cfg.Evaluator.Generation(); now == nil || !ofEpoch(now.Resume(), epoch) {
		fail(ctx, fasthttp.StatusPreconditionFailed, tiergate.General, "the demanded revision is of another history than the one in force")
		return false
	}
	ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
	fail(ctx, fasthttp.StatusServiceUnavailable, tiergate.General, "the demanded revision is not in force here yet")
	return false
}

func ofEpoch(r tiergate.Resume, epoch string) bool { return r.Epoch[:min(8, len(r.Epoch))] == epoch }

// await returns a generation at or past a revision, nil when none came in time. It looks
// again and again: that costs a pointer read, and only for callers that are ahead of us.
func (d *door) await(gen tiergate.Generation, epoch string, rev int64) tiergate.Generation {
	reached := func() bool {
		r := gen.Resume()
		return ofEpoch(r, epoch) && r.Rev >= rev
	}
	if reached() {
		return gen
	}
	defer d.waiting.Add(-1)
	if d.waiting.Add(1) > maxWaiters {
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
		}
		if gen = d.cfg.Evaluator.Generation(); reached() {
			return gen
		}
	}
}
