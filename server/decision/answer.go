package decision

import (
	"context"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// one answers one question.
func (d *door) one(ctx *fasthttp.RequestCtx, c *call) error {
	doc, err := c.parse(ctx, false)
	if err != nil {
		return err
	}
	if err := c.read(doc, c.kind, &c.question); err != nil {
		return err
	}
	c.question.use.Room = &c.room
	v, err := d.ask(context.Background(), c.kind, &c.question.use)
	if err != nil {
		return err
	}
	c.answer(ctx, &v, nil)
	return nil
}

// ask does what is asked. The gate bounds its own waiting; when ctx ends before, what waits for
// the ledger is denied.
func (d *door) ask(ctx context.Context, k kind, u *tiergate.Use) (tiergate.Verdict, error) {
	switch k {
	case consume:
		return d.cfg.Gate.Consume(ctx, u)
	case track:
		return d.cfg.Gate.Track(ctx, u)
	}
	return d.cfg.Gate.Check(ctx, u)
}

// answer writes a verdict, and after it more members of the object. Reflected, its status is
// that of the answer, and what denies is a problem document too.
func (c *call) answer(ctx *fasthttp.RequestCtx, v *tiergate.Verdict, more func(b []byte) []byte) {
	c.setRevision(ctx, &v.Resume)
	b := ctx.Response.SwapBody(nil)[:0]
	b = append(b, '{')
	status, contentType := fasthttp.StatusOK, jsonType
	if c.reflect {
		status = v.Reason.Status()
		c.setLimits(ctx, v)
		if status != fasthttp.StatusOK {
			contentType = problemType
			b = append(appendProblem(b, v), ',')
		}
	}
	b = appendVerdict(b, v, c.question.use.Flag, c.stale)
	if more != nil {
		b = more(b)
	}
	ctx.Response.SwapBody(append(b, '}'))
	ctx.SetStatusCode(status)
	ctx.SetContentType(contentType)
}

// The messages that applications show their users; what other statuses mean is the gate's to
// say.
const (
	notForTier    = "Feature not available for your tier"
	limitExceeded = "Usage limit exceeded"
)

func messageOf(v *tiergate.Verdict) string {
	switch v.Reason.Status() {
	case fasthttp.StatusOK:
		return ""
	case fasthttp.StatusForbidden:
		return notForTier
	case fasthttp.StatusTooManyRequests:
		return limitExceeded
	}
	if v.Message != "" {
		return v.Message
	}
	switch v.Reason {
	case tiergate.UseFlagNotFound:
		return "There is no such feature"
	case tiergate.UseInvalid:
		return "The subject is not what the limits of the feature need"
	}
	return "It cannot be decided now"
}

// appendVerdict appends the members of an answer.
func appendVerdict(b []byte, v *tiergate.Verdict, feature string, stale bool) []byte {
	b = strconv.AppendBool(append(b, `"allow":`...), v.Allow)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(v.Reason.Status()), 10)
	b = server.AppendString(append(b, `,"reason":`...), string(v.Reason))
	b = server.AppendString(append(b, `,"message":`...), messageOf(v))
	b = server.AppendString(append(b, `,"feature":`...), feature)
	b = server.AppendString(append(b, `,"variant":`...), v.Decision.Variant)
	b = append(b, `,"value":`...)
	if v.Decision.Value != nil {
		b = append(b, v.Decision.Value...)
	} else {
		b = append(b, `null`...)
	}
	b = server.AppendString(append(b, `,"tier":`...), v.Decision.Tier)
	b = appendLimits(append(b, `,"limits":`...), v.Limits)
	if v.Denied != "" {
		b = server.AppendString(append(b, `,"deniedBy":`...), v.Denied)
	}
	b = append(b, `,"retryAfterMs":`...)
	if v.RetryAfter > 0 {
		b = strconv.AppendInt(b, ceil(v.RetryAfter, time.Millisecond), 10)
	} else {
		b = append(b, `null`...)
	}
	if v.Decision.Upgrade != "" {
		b = server.AppendString(append(b, `,"upgrade":`...), v.Decision.Upgrade)
	}
	b = append(server.AppendRevision(append(b, `,"revision":"`...), &v.Resume), '"')
	b = strconv.AppendBool(append(b, `,"stale":`...), stale)
	if v.Replayed {
		b = append(b, `,"replayed":true`...)
	}
	return server.AppendString(append(b, `,"decisionId":`...), v.ID)
}

func appendLimits(b []byte, limits []tiergate.LimitState) []byte {
	b = append(b, '[')
	var asOf time.Time
	var asOfText []byte // mostly the same for all limits
	for i := range limits {
		l := &limits[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = server.AppendString(append(b, `{"key":`...), l.Key)
		b = server.AppendString(append(b, `,"kind":`...), string(l.Kind))
		b = strconv.AppendInt(append(b, `,"limit":`...), l.Amount, 10)
		b = strconv.AppendInt(append(b, `,"remaining":{"min":`...), l.Min, 10)
		b = strconv.AppendInt(append(b, `,"max":`...), l.Max, 10)
		b = append(b, `},"resetsInMs":`...)
		if l.ResetsIn >= 0 {
			b = strconv.AppendInt(b, ceil(l.ResetsIn, time.Millisecond), 10)
		} else {
			b = append(b, `null`...)
		}
		b = strconv.AppendBool(append(b, `,"exact":`...), l.Exact)
		b = append(b, `,"asOf":`...)
		if i == 0 || l.AsOf != asOf {
			start := len(b)
			b = appendTime(b, l.AsOf)
			asOf, asOfText = l.AsOf, b[start:]
		} else {
			b = append(b, asOfText...)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendTime appends a time as a JSON string, null for the zero time.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, `null`...)
	}
	return append(t.UTC().AppendFormat(append(b, '"'), "2006-01-02T15:04:05.999Z07:00"), '"')
}

// ceil is how many whole units cover d.
func ceil(d, unit time.Duration) int64 { return int64((d + unit - 1) / unit) }
