package ofrep

import (
	"bytes"
	"encoding/json"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/server"
)

const jsonType = "application/json"

// The beginnings of the members that we reserve, as a flag's own, compact metadata has them. In
// a string a quote is escaped, so that none is found there.
var reservedMembers, reservedMeteredMembers = beginnings(server.ReservedMetadata), beginnings(server.ReservedMeteredMetadata)

func beginnings(names []string) [][]byte {
	var out [][]byte
	for _, name := range names {
		out = append(out, []byte(`"`+name+`":`))
	}
	return out
}

// begin writes the state that answers, for the header and for the metadata of a single answer, or
// of the set in an answer about all flags; it is mostly as it was in the request before.
func (c *call) begin(ctx *fasthttp.RequestCtx) {
	const open = `"revision":"`
	of := state{epoch: c.resume.Epoch, rev: c.resume.Rev, stale: c.stale}
	if c.metaOf != of || len(c.meta) == 0 {
		c.metaOf = of
		c.meta = append(c.meta[:0], open...)
		c.meta = append(server.AppendRevision(c.meta, &c.resume), '"')
		c.revision = len(c.meta) - 1
		if of.stale {
			c.meta = append(c.meta, `,"stale":true`...)
		}
	}
	server.SetRevision(ctx, c.meta[len(open):c.revision])
}

// single answers about one flag.
func (d *door) single(ctx *fasthttp.RequestCtx, c *call) {
	decision, steps := c.gen.Decide(&c.req), c.gen.Steps(c.req.Set)
	body := ctx.Response.SwapBody(nil)
	body = c.appendDecision(body[:0], &decision, c.req.Flag, c.meta, d.cfg.Gate)
	if d.cfg.Streams != nil && decision.ErrorCode == "" {
		body = c.appendSharedStream(body[:len(body)-1], &d.cfg.Streams.secret, steps)
		body = append(body, '}')
	}
	ctx.Response.SwapBody(body)
	ctx.SetStatusCode(statusOf(decision.ErrorCode))
	ctx.SetContentType(jsonType)
	if steps != tiergate.StepNever || decision.Transient {
		keepUntil(ctx, steps, c.req.Now, decision.Transient)
	}
}

// statusOf maps the code of a decision to a status: the one place where that is said.
func statusOf(code tiergate.ErrorCode) int {
	switch code {
	case "":
		return fasthttp.StatusOK
	case tiergate.FlagNotFound:
		return fasthttp.StatusNotFound
	case tiergate.ProviderNotReady:
		return fasthttp.StatusServiceUnavailable
	}
	return fasthttp.StatusBadRequest
}

// appendDecision appends a decision as OFREP has it: an evaluation without value means the
// code default. In front of its metadata come members of the caller, none in an answer about all
// flags: clients compare what they get about a flag with what they had, and name it as changed.
// The gate is for an answer that nobody keeps.
func (c *call) appendDecision(b []byte, d *tiergate.Decision, flag string, front []byte, gate tiergate.Gate) []byte {
	b = server.AppendString(append(b, `{"key":`...), flag)
	if d.ErrorCode != "" {
		b = server.AppendString(append(b, `,"errorCode":`...), string(d.ErrorCode))
		b = server.AppendString(append(b, `,"errorDetails":`...), d.ErrorDetails)
	} else {
		b = append(append(b, `,"reason":"`...), d.Reason...)
		b = server.AppendString(append(b, `","variant":`...), d.Variant)
		if d.Value != nil {
			b = append(append(b, `,"value":`...), d.Value...)
		}
	}
	b = append(b, `,"metadata":`...)
	open := len(b) // where the comma in front of the first member becomes a brace
	if len(front) > 0 {
		b = append(append(b, ','), front...)
	}
	if d.Tier != "" {
		b = server.AppendString(append(b, `,"tier":`...), d.Tier)
	}
	if d.Denied {
		b = server.AppendString(append(b, `,"denied":true,"denyReason":`...), d.DenyReason)
		if d.Upgrade != "" {
			b = server.AppendString(append(b, `,"upgrade":`...), d.Upgrade)
		}
	}
	if d.Metered {
		b = appendOwnOf(c.appendLimit(b, d, gate), d.Metadata, true)
	} else {
		b = appendOwn(b, d.Metadata)
	}
	if len(b) == open {
		return append(b, "{}}"...)
	}
	b[open] = '{'
	return append(b, '}', '}')
}

// appendOwn appends members after others, without those whose names we reserve.
func appendOwn(b []byte, members json.RawMessage) []byte { return appendOwnOf(b, members, false) }

func appendOwnOf(b []byte, members json.RawMessage, metered bool) []byte {
	if len(members) == 0 {
		return b
	}
	if holdsAny(members, reservedMembers) || metered && holdsAny(members, reservedMeteredMembers) {
		return appendWithoutReserved(b, members, metered)
	}
	return append(append(b, ','), members...)
}

func holdsAny(members []byte, all [][]byte) bool {
	for _, member := range all {
		if bytes.Contains(members, member) {
			return true
		}
	}
	return false
}

func appendWithoutReserved(b []byte, members json.RawMessage, metered bool) []byte {
	object, err := jsonvalue.Parse(append(append([]byte{'{'}, members...), '}'))
	if err != nil {
		return b // a bug of whoever made it; an answer without it is better than one that is not JSON
	}
	for i := range object.Len() {
		if server.Reserved(object.KeyAt(i), metered) {
			continue
		}
		b = append(jsonvalue.AppendString(append(b, ','), object.KeyAt(i)), ':')
		b = jsonvalue.Append(b, object.Index(i))
	}
	return b
}

// fail answers with an error that is no decision. The flag's name is the path's.
func fail(ctx *fasthttp.RequestCtx, status int, code tiergate.ErrorCode, details string) {
	name, _, _ := resource(ctx)
	b := ctx.Response.SwapBody(nil)[:0]
	b = jsonvalue.AppendString(append(b, `{"key":`...), server.View(name))
	b = jsonvalue.AppendString(append(b, `,"errorCode":`...), string(code))
	b = jsonvalue.AppendString(append(b, `,"errorDetails":`...), details)
	ctx.Response.SwapBody(append(b, `,"metadata":{}}`...))
	ctx.SetStatusCode(status)
	ctx.SetContentType(jsonType)
}
