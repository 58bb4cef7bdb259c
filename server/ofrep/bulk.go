package ofrep

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// bulk answers about all flags of a set, or says that the caller has the answer already.
func (d *door) bulk(ctx *fasthttp.RequestCtx, c *call) {
	known := ctx.Request.Header.PeekAll("If-None-Match")
	if c.refetch(ctx) {
		known = nil
	}
	steps := c.gen.Steps(c.req.Set)
	var tag [tagLength]byte
	if steps != tiergate.StepAlways {
		tag = c.tagOfQuestion(d.cfg.Version, steps)
		if matches(known, tag[:]) {
			notModified(ctx, tag[:])
			return
		}
	}
	body, lasting := c.appendAll(ctx.Response.SwapBody(nil)[:0])
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
	if query.Len() == 0 {
		return false
	}
	return query.Has("flagConfigLastModified") ||
		query.Has("flagConfigEtag") && string(query.Peek("flagConfigEtag")) != c.resume.Revision()
}

// appendAll appends the answer about all flags, and says whether the same question would
// get it again: a transient error in it would otherwise be kept by whoever keeps its tag.
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
		b = c.appendDecision(b, &decision, decision.Flag, nil)
	}
	b = append(append(b, `],"metadata":{`...), c.meta...)
	own := c.gen.SetMetadata(c.req.Set)
	if c.selected && !bytes.Contains(own, []byte(`"flagSetId":`)) {
		b = jsonvalue.AppendString(append(b, `,"flagSetId":`...), c.req.Set)
	}
	return append(appendOwn(b, own), '}', '}'), lasting
}
