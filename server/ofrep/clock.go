package ofrep

import (
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// seconds is how long a step of the clock lasts, 0 when time alone changes nothing or everything.
func seconds(steps tiergate.ClockStep) int64 {
	switch steps {
	case tiergate.StepDay:
		return 24 * 60 * 60
	case tiergate.StepHour:
		return 60 * 60
	}
	return 0
}

// turn numbers the step of the clock that now is in.
func turn(steps tiergate.ClockStep, now time.Time) int64 {
	if n := seconds(steps); n > 0 {
		return floorDiv(now.Unix(), n)
	}
	return 0
}

// nextTurn is when time alone changes answers next; the zero time when it does not, or always may.
func nextTurn(steps tiergate.ClockStep, now time.Time) time.Time {
	n := seconds(steps)
	if n == 0 {
		return time.Time{}
	}
	return time.Unix((floorDiv(now.Unix(), n)+1)*n, 0)
}

// keepUntil says for how long an answer may be kept, where time alone or luck may change it.
// Other answers hold until the next revision, of which HTTP knows nothing.
func keepUntil(ctx *fasthttp.RequestCtx, steps tiergate.ClockStep, now time.Time, transient bool) {
	h := &ctx.Response.Header
	if next := nextTurn(steps, now); !transient && !next.IsZero() {
		h.Set(fasthttp.HeaderCacheControl, "private, max-age="+strconv.FormatInt(int64(next.Sub(now)/time.Second), 10))
		return
	}
	h.Set(fasthttp.HeaderCacheControl, "no-store")
}

// A place is a state of a set's answers as streams name it: the revision and, where time alone
// changes answers, the step of the clock behind an "@".
func appendPlace(b []byte, at *tiergate.Resume, steps tiergate.ClockStep, now time.Time) []byte {
	b = server.AppendRevision(b, at)
	if seconds(steps) > 0 {
		b = strconv.AppendInt(append(b, '@'), turn(steps, now), 10)
	}
	return b
}
