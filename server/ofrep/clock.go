package ofrep

import (
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// keepUntil says for how long an answer may be kept, where time alone or luck may change it.
// Other answers hold until the next revision, of which HTTP knows nothing.
func keepUntil(ctx *fasthttp.RequestCtx, steps tiergate.ClockStep, now time.Time, transient bool) {
	h := &ctx.Response.Header
	if next := server.NextTurn(steps, now); !transient && !next.IsZero() {
		h.Set(fasthttp.HeaderCacheControl, "private, max-age="+strconv.FormatInt(int64(next.Sub(now)/time.Second), 10))
		return
	}
	h.Set(fasthttp.HeaderCacheControl, "no-store")
}

// A place is a state of a set's answers as streams name it: the revision and, where time alone
// changes answers, the step of the clock behind an "@".
func appendPlace(b []byte, at *tiergate.Resume, steps tiergate.ClockStep, now time.Time) []byte {
	b = server.AppendRevision(b, at)
	if !server.NextTurn(steps, now).IsZero() {
		b = strconv.AppendInt(append(b, '@'), server.Turn(steps, now), 10)
	}
	return b
}
