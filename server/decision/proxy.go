package decision

import (
	"context"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// A setting is what a proxy says about the request that it asks about: in its query, which
// only the proxy's operator writes, or in a header, which the operator has to overwrite.
type setting struct {
	query, header string
}

var (
	askedFeature = setting{"feature", "Tiergate-Feature"}
	askedSet     = setting{"set", ""}
	askedUser    = setting{"user", "Tiergate-User"}
	askedTeam    = setting{"team", "Tiergate-Team"}
	askedCost    = setting{"cost", "Tiergate-Cost"}
	askedKey     = setting{"idempotencyKey", "Tiergate-Idempotency-Key"}
	askedMode    = setting{"mode", ""}

	proxyQuery = []string{"feature", "set", "user", "team", "cost", "idempotencyKey", "mode"}
)

// read returns a setting's text, "" when nobody says anything, and sets err when it is no
// good. A header that comes twice is one that the proxy has added to the client's own.
func (s setting) read(ctx *fasthttp.RequestCtx, most int, err *error) string {
	field, value := s.query, ctx.QueryArgs().Peek(s.query)
	if !ctx.QueryArgs().Has(s.query) && s.header != "" {
		lines := ctx.Request.Header.PeekAll(s.header)
		if len(lines) > 1 {
			*err = tiergate.FieldErrorf(s.header, "the header %s comes twice", s.header)
		}
		if len(lines) != 1 {
			return ""
		}
		field, value = s.header, lines[0]
	}
	if len(value) == 0 {
		return ""
	}
	text, bad := checkText(field, server.View(value), most)
	if bad != nil {
		*err = bad
	}
	return text
}

// fromProxy says whether a request has a header that only a proxy writes. A page of another
// site can make a browser send a GET to whatever it can reach, but none with such a header.
func fromProxy(ctx *fasthttp.RequestCtx) bool {
	for _, s := range [...]setting{askedFeature, askedUser, askedTeam, askedCost, askedKey} {
		if len(ctx.Request.Header.Peek(s.header)) > 0 {
			return true
		}
	}
	return false
}

// proxied answers a proxy that asks about a request of somebody else's.
func (d *door) proxied(ctx *fasthttp.RequestCtx, c *call) error {
	mode, err := c.readSettings(ctx)
	if err != nil {
		return err
	}
	c.question.use.Room = &c.room
	v, err := d.ask(context.Background(), mode, &c.question.use)
	if err != nil {
		return err
	}
	c.setRevision(ctx, &v.Resume)
	c.setLimits(ctx, &v)
	h := &ctx.Response.Header
	if v.Decision.Tier != "" {
		c.scratch = appendASCII(c.scratch[:0], v.Decision.Tier, false)
		h.SetBytesV("Tiergate-Tier", c.scratch)
	}
	if status := v.Reason.Status(); status != fasthttp.StatusOK {
		b := appendProblem(append(ctx.Response.SwapBody(nil)[:0], '{'), &v)
		b = strconv.AppendInt(append(b, `,"status":`...), int64(status), 10)
		b = server.AppendString(append(b, `,"reason":`...), string(v.Reason))
		ctx.Response.SwapBody(append(b, '}'))
		denyProxy(ctx, c.endpoint, status, string(v.Reason), messageOf(&v))
		return nil
	}
	h.Set(fasthttp.HeaderCacheControl, "no-store")
	h.SetNoDefaultContentType(true)
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

// readSettings makes the question of what the proxy says.
func (c *call) readSettings(ctx *fasthttp.RequestCtx) (kind, error) {
	c.question = question{}
	u := &c.question.use
	u.Key, u.Now = c.key, c.now
	var err error
	u.Flag = askedFeature.read(ctx, tiergate.MaxNameLength, &err)
	set := askedSet.read(ctx, tiergate.MaxNameLength, &err)
	u.UserID = askedUser.read(ctx, MaxIDBytes, &err)
	u.TeamID = askedTeam.read(ctx, MaxIDBytes, &err)
	u.IdempotencyKey = askedKey.read(ctx, MaxKeyBytes, &err)
	cost := askedCost.read(ctx, 32, &err)
	mode := askedMode.read(ctx, 32, &err)
	if err == nil {
		err = checkKey("idempotencyKey", u.IdempotencyKey)
	}
	if err != nil {
		return unasked, err
	}
	u.Set = set
	if u.Flag == "" {
		return unasked, tiergate.FieldErrorf("feature", "the proxy names no feature: ?feature= or Tiergate-Feature")
	}
	if cost != "" {
		if u.Cost, err = checkUnits("cost", cost, 1); err != nil {
			return unasked, err
		}
	}
	if err := c.selectSet(u); err != nil {
		return unasked, err
	}
	switch mode {
	case "", "check":
		u.IdempotencyKey = "" // nothing is taken, so that nothing is repeated
		return check, nil
	case "consume":
		if u.IdempotencyKey != "" {
			u.Fingerprint = c.fingerprint(consume, &c.question)
		}
		return consume, nil
	}
	return unasked, tiergate.FieldErrorf("mode", "mode is neither check nor consume")
}

// denyProxy says in headers that a request is not let through. nginx knows 403 only: it is
// told the status in a header.
func denyProxy(ctx *fasthttp.RequestCtx, e *endpoint, status int, reason, message string) {
	h := &ctx.Response.Header
	if status == fasthttp.StatusServiceUnavailable && len(h.Peek(fasthttp.HeaderRetryAfter)) == 0 {
		h.Set(fasthttp.HeaderRetryAfter, "1")
	}
	h.Set("Tiergate-Status", strconv.Itoa(status))
	h.Set("Tiergate-Reason", reason)
	h.SetBytesV("Tiergate-Message", appendASCII(nil, message, false))
	h.Set(fasthttp.HeaderCacheControl, "no-store")
	ctx.SetContentType(problemType)
	ctx.SetStatusCode(status)
	if e.nginx {
		ctx.SetStatusCode(fasthttp.StatusForbidden)
	}
}

// failProxy answers a proxy with an error. That the proxy's own key is refused is nothing that
// a client should see as its own fault.
func (d *door) failProxy(ctx *fasthttp.RequestCtx, e *endpoint, p *problem) {
	if p.status == fasthttp.StatusUnauthorized || p.status == fasthttp.StatusForbidden {
		p = &problem{status: fasthttp.StatusInternalServerError, detail: "the proxy's API key is refused"}
	}
	ctx.Response.Header.Del(fasthttp.HeaderWWWAuthenticate)
	d.revisionInForce(ctx)
	ctx.Response.SwapBody(p.appendTo(ctx.Response.SwapBody(nil)[:0]))
	denyProxy(ctx, e, p.status, "ERROR", p.detail)
}
