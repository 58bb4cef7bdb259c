package server

import (
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// Problem makes the answer a problem document (RFC 9457).
func Problem(ctx *fasthttp.RequestCtx, status int, detail string) {
	body := ctx.Response.SwapBody(nil)[:0]
	body = append(body, `{"type":"about:blank","title":`...)
	body = jsonvalue.AppendString(body, fasthttp.StatusMessage(status))
	body = strconv.AppendInt(append(body, `,"status":`...), int64(status), 10)
	body = append(jsonvalue.AppendString(append(body, `,"detail":`...), detail), '}')
	ctx.Response.SwapBody(body)
	ctx.SetStatusCode(status)
	ctx.SetContentType("application/problem+json")
}
