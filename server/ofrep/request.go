package ofrep

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// The headers that we read, in the form in which fasthttp keeps them.
var (
	headerSelector = []byte("Flagd-Selector")
	headerETag     = []byte("Etag")
	headerAudience = []byte("Tiergate-Audience")
)

// resource says which resource a path names: a flag, decoded and valid until the request
// ends, or all flags.
func resource(ctx *fasthttp.RequestCtx) (name []byte, single, ok bool) {
	tail, ok := bytes.CutPrefix(ctx.URI().PathOriginal(), []byte(bulkPath))
	switch {
	case !ok:
		return nil, false, false
	case len(tail) == 0 || len(tail) == 1 && tail[0] == '/':
		return nil, false, true
	case tail[0] != '/':
		return nil, false, false
	}
	return unescape(tail[1:]), true, true
}

// unescape decodes %XX and leaves everything else as it is: providers differ in what they
// encode of a flag's name, and a name may hold a slash or a percent sign.
func unescape(b []byte) []byte {
	if bytes.IndexByte(b, '%') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) && unhex(b[i+1]) >= 0 && unhex(b[i+2]) >= 0 {
			out = append(out, byte(unhex(b[i+1])<<4|unhex(b[i+2])))
			i += 2
			continue
		}
		out = append(out, b[i])
	}
	return out
}

func unhex(b byte) int {
	switch {
	case b >= '0' && b <= '9':
		return int(b - '0')
	case b >= 'a' && b <= 'f':
		return int(b-'a') + 10
	case b >= 'A' && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}

// prepare reads the request about name into c and reports whether it can be answered; if
// not, the error has been written.
func (d *door) prepare(ctx *fasthttp.RequestCtx, c *call, name []byte) bool {
	body := ctx.Request.Body()
	switch {
	case server.Encoded(ctx):
		refuse(ctx, fasthttp.StatusUnsupportedMediaType, "the body must not have a Content-Encoding")
		return false
	case len(body) > MaxBodyBytes:
		refuse(ctx, fasthttp.StatusRequestEntityTooLarge, "the body is too large")
		return false
	}
	c.gen = d.cfg.Evaluator.Generation()
	if c.gen == nil {
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
		fail(ctx, fasthttp.StatusServiceUnavailable, tiergate.ProviderNotReady, "the flags have not been loaded yet")
		return false
	}
	c.req = tiergate.Request{Flag: server.View(name)}
	if !d.admit(ctx, c) || !d.await(ctx, c) || !c.selectSet(ctx) {
		return false
	}
	c.req.Now = d.cfg.Now()
	c.stale = d.state.Stale(c.req.Now)
	c.resume = c.gen.Resume()
	c.begin(ctx)
	return c.readContext(ctx, body)
}

// await puts the generation into c that the request demands, or of which an event told its caller.
// Nobody waits for it who may not ask; and who may no longer when it is there gets no answer.
func (d *door) await(ctx *fasthttp.RequestCtx, c *call) bool {
	gen, status, detail := d.state.Demanded(ctx, c.gen)
	if gen == nil {
		fail(ctx, status, tiergate.General, detail)
		return false
	}
	if len(c.req.Flag) == 0 {
		gen = d.toldOf(ctx, gen)
	}
	if gen == c.gen {
		return true
	}
	c.gen = gen
	return d.admit(ctx, c)
}

// admit finds out who asks.
func (d *door) admit(ctx *fasthttp.RequestCtx, c *call) bool {
	if d.cfg.Credential == nil {
		return true
	}
	key, status, detail := server.Admit(ctx, d.cfg.Credential)
	if status == 0 {
		c.req.Key = key
		return true
	}
	code := tiergate.General
	if status == fasthttp.StatusServiceUnavailable {
		code = tiergate.ProviderNotReady
	}
	fail(ctx, status, code, detail)
	return false
}

// selectSet finds the flag set.
func (c *call) selectSet(ctx *fasthttp.RequestCtx) bool {
	named, err := server.Selected(server.View(ctx.Request.Header.PeekCanonical(headerSelector)))
	c.selected = named != ""
	if err == nil {
		c.req.Set, err = server.SetFor(named, c.req.Key)
	}
	switch tiergate.CodeOf(err) {
	case "":
		return true
	case tiergate.Forbidden:
		fail(ctx, fasthttp.StatusForbidden, tiergate.General, err.Error())
	default:
		fail(ctx, fasthttp.StatusBadRequest, tiergate.General, err.Error())
	}
	return false
}

// readContext reads the body: nothing at all, an empty object and a null context are no
// context, and a context without targetingKey names no user.
func (c *call) readContext(ctx *fasthttp.RequestCtx, body []byte) bool {
	if len(bytes.TrimSpace(body)) == 0 {
		return true
	}
	doc, err := c.parser.Parse(body)
	if err != nil {
		fail(ctx, fasthttp.StatusBadRequest, tiergate.ParseError, "the body is "+err.Error())
		return false
	}
	if doc.Kind() != tiergate.ObjectValue && doc.Kind() != tiergate.Null {
		fail(ctx, fasthttp.StatusBadRequest, tiergate.ParseError, "the body is not a JSON object")
		return false
	}
	attributes := doc.Field("context")
	switch attributes.Kind() {
	case tiergate.Undefined, tiergate.Null:
		return true
	case tiergate.ObjectValue:
		c.req.Attributes = attributes
	default:
		fail(ctx, fasthttp.StatusBadRequest, tiergate.InvalidContext, "context is not an object")
		return false
	}
	if c.req.UserID, c.req.TeamID, err = server.Subject(attributes); err != nil {
		fail(ctx, fasthttp.StatusBadRequest, tiergate.InvalidContext, err.Error())
		return false
	}
	return true
}
