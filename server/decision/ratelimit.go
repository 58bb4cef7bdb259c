package decision

import (
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// The fields RateLimit-Policy and RateLimit of draft-ietf-httpapi-ratelimit-headers, which are
// Structured Fields (RFC 9651).
var (
	headerPolicy = []byte("RateLimit-Policy")
	headerLimit  = []byte("RateLimit")
)

const (
	// maxInteger is the largest integer that a Structured Field may have.
	maxInteger = 999_999_999_999_999
	// maxWindow is the longest window that is told. That no more than is left may be used in
	// a month is also true of its next day, and a limit may be raised before the month ends.
	maxWindow = 24 * time.Hour
	// maxPace bounds what is told to be left, per second of its window: clients may take it
	// for an invitation to use all of it at once.
	maxPace = 1000
)

// setLimits tells the limits in headers, and when to come back. What is left is not told while
// nobody can use it, because nobody can say or record it: clients take it for an invitation.
func (c *call) setLimits(ctx *fasthttp.RequestCtx, v *tiergate.Verdict) {
	h := &ctx.Response.Header
	if v.RetryAfter > 0 && !v.Allow {
		c.scratch = strconv.AppendInt(c.scratch[:0], ceil(v.RetryAfter, time.Second), 10)
		h.SetBytesV(fasthttp.HeaderRetryAfter, c.scratch)
	}
	if len(v.Limits) == 0 {
		return
	}
	b := c.scratch[:0]
	for i := range v.Limits {
		b = appendPolicy(b, &v.Limits[i])
	}
	h.SetCanonical(headerPolicy, b)
	if c.scratch = b; v.Reason == tiergate.UseUnavailable {
		return
	}
	b = b[:0]
	for i := range v.Limits {
		if !v.Limits[i].AsOf.IsZero() { // otherwise nobody knows what is left
			b = appendService(b, &v.Limits[i], v)
		}
	}
	if len(b) > 0 {
		h.SetCanonical(headerLimit, b)
	}
	c.scratch = b
}

// appendPolicy appends an item of RateLimit-Policy: what is allowed in which time.
func appendPolicy(b []byte, l *tiergate.LimitState) []byte {
	b = appendName(b, l.Key)
	b = strconv.AppendInt(append(b, `;q=`...), bounded(l.Amount), 10)
	if w := seconds(l.Period); w > 0 {
		b = strconv.AppendInt(append(b, `;w=`...), w, 10)
	}
	if l.Kind == tiergate.Concurrency {
		b = append(b, `;qu="concurrent-requests"`...)
	}
	if l.Burst > l.Amount {
		b = strconv.AppendInt(append(b, `;tiergate-burst=`...), bounded(l.Burst), 10)
	}
	return b
}

// appendService appends an item of RateLimit: the least that is left, and for how long it is all
// there is. No window ends after Retry-After, which wins.
func appendService(b []byte, l *tiergate.LimitState, v *tiergate.Verdict) []byte {
	b = appendName(b, l.Key)
	left := bounded(l.Min)
	if l.ResetsIn < 0 {
		return strconv.AppendInt(append(b, `;r=`...), left, 10)
	}
	window := min(l.ResetsIn, maxWindow)
	if v.RetryAfter > 0 && !v.Allow {
		window = min(window, v.RetryAfter)
	}
	t := ceil(window, time.Second)
	if w := seconds(l.Period); w == 0 || w > 60 { // a rate says itself what may come at once
		left = min(left, maxPace*max(t, 1))
	}
	b = strconv.AppendInt(append(b, `;r=`...), left, 10)
	return strconv.AppendInt(append(b, `;t=`...), t, 10)
}

// appendName appends a limit's key as a String, which holds printable ASCII; other bytes are
// percent-encoded.
func appendName(b []byte, key string) []byte {
	if len(b) > 0 {
		b = append(b, `, `...)
	}
	b = append(b, '"')
	b = appendASCII(b, key, true)
	return append(b, '"')
}

// appendASCII appends s with all that is no printable ASCII percent-encoded, so that it may
// stand in a header; in a String quotes and backslashes are escaped.
func appendASCII(b []byte, s string, quoted bool) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~':
			b = append(b, '%', hex[c>>4], hex[c&15])
		case quoted && (c == '"' || c == '\\'):
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	return b
}

func bounded(n int64) int64 { return min(max(n, 0), maxInteger) }

// seconds is how long a period is, with months of 30 days: what a policy tells is to stay the
// same from one answer to the next. 0 means that there is no period.
func seconds(period string) int64 {
	const day = 24 * 60 * 60
	switch period {
	case "second":
		return 1
	case "minute":
		return 60
	case "hour":
		return 60 * 60
	case "day":
		return day
	case "week":
		return 7 * day
	case "month":
		return 30 * day
	case "year":
		return 365 * day
	}
	return 0
}

// appendProblem appends what makes a denying answer a problem document (RFC 9457) as well. Its
// status and the decision's are one member.
func appendProblem(b []byte, v *tiergate.Verdict) []byte {
	name, title, quota := ownTypes+"denied", "The use is denied", true
	switch v.Reason.Status() {
	case fasthttp.StatusTooManyRequests:
		name, title = quotaExceeded, "Request cannot be satisfied as assigned quota has been exceeded"
	case fasthttp.StatusServiceUnavailable:
		name, title = reducedCapacity, "Request cannot be satisfied due to temporary server capacity constraints"
	default:
		quota = false
	}
	b = jsonvalue.AppendString(append(b, `"type":`...), name)
	b = jsonvalue.AppendString(append(b, `,"title":`...), title)
	b = jsonvalue.AppendString(append(b, `,"detail":`...), messageOf(v))
	if quota && v.Denied != "" {
		b = append(jsonvalue.AppendString(append(b, `,"violated-policies":[`...), v.Denied), ']')
	}
	return b
}
