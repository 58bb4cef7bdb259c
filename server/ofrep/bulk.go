package ofrep

import (
	"bytes"
	"context"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/server"
)

// bulk answers about all flags of a set, or says that the caller has the answer already.
func (d *door) bulk(ctx *fasthttp.RequestCtx, c *call) {
	known := ctx.Request.Header.PeekAll("If-None-Match")
	if c.refetch(ctx) {
		known = nil
	}
	steps := c.gen.Steps(c.req.Set)
	if steps != tiergate.StepNever {
		keepUntil(ctx, steps, c.req.Now, false)
	}
	if d.cfg.Streams != nil {
		c.everyone = string(ctx.Request.Header.PeekCanonical(headerAudience)) == "everyone"
		c.givePass()
	}
	var tag [tagLength]byte
	if steps != tiergate.StepAlways {
		tag = c.tagOfQuestion(d, steps)
		if matches(known, tag[:]) {
			notModified(ctx, tag[:])
			return
		}
	}
	body, lasting := c.appendAll(ctx.Response.SwapBody(nil)[:0])
	if c.streaming {
		body = append(body, ',')
		body = c.appendEventStreams(body, &d.cfg.Streams.secret, steps)
	}
	body = append(body, '}')
	if steps == tiergate.StepAlways {
		tag = tagOf(body)
		if matches(known, tag[:]) {
			ctx.Response.SwapBody(body[:0])
			notModified(ctx, tag[:])
			return
		}
	}
	if cap(body) > maxPooledBytes {
		ctx.Response.SetBodyRaw(body) // which the connection does not keep
	} else {
		ctx.Response.SwapBody(body)
	}
	if lasting {
		ctx.Response.Header.SetCanonical(headerETag, tag[:])
	} else {
		keepUntil(ctx, steps, c.req.Now, true)
	}
	ctx.SetContentType(jsonType)
}

func notModified(ctx *fasthttp.RequestCtx, tag []byte) {
	ctx.Response.Header.SetCanonical(headerETag, tag)
	ctx.Response.Header.SetNoDefaultContentType(true)
	ctx.SetStatusCode(fasthttp.StatusNotModified)
}

// refetch reports whether the caller asks because it was told of another state than the
// one in force. Such a request must not be answered with 304, whatever tag it carries.
func (c *call) refetch(ctx *fasthttp.RequestCtx) bool {
	query := ctx.QueryArgs()
	switch {
	case query.Len() == 0:
		return false
	case query.Has("flagConfigEtag"): // events name the revision, which says more than a time
		return string(query.Peek("flagConfigEtag")) != c.resume.Revision()
	}
	return query.Has("flagConfigLastModified")
}

// toldOf returns gen, or a later generation when an event, perhaps of another sidecar behind
// the same address, told the caller of one that is here in a moment. Nobody waits for one of
// another history, such as another sidecar's of a folder.
func (d *door) toldOf(ctx *fasthttp.RequestCtx, gen tiergate.Generation) tiergate.Generation {
	if told := ctx.QueryArgs().Peek("flagConfigEtag"); len(told) > 0 {
		if later, err := d.state.AtLeast(context.Background(), server.View(told), gen); err == nil {
			return later
		}
	}
	return gen
}

// appendAll appends the answer about all flags without its last brace, and says whether the
// same question would get it again: a transient error in it would otherwise be kept by whoever
// keeps its tag.
func (c *call) appendAll(b []byte) (body []byte, lasting bool) {
	b = append(b, `{"flags":[`...)
	first := true
	lasting = true
	for decision := range c.gen.All(&c.req) {
		if !first {
			b = append(b, ',')
		}
		first = false
		lasting = lasting && !decision.Transient
		b = c.appendDecision(b, &decision, decision.Flag, nil, nil)
	}
	b = append(append(b, `],"metadata":{`...), c.meta...)
	own := c.gen.SetMetadata(c.req.Set)
	if c.selected && !bytes.Contains(own, []byte(`"flagSetId":`)) {
		b = jsonvalue.AppendString(append(b, `,"flagSetId":`...), c.req.Set)
	}
	return append(appendOwn(b, own), '}'), lasting
}
