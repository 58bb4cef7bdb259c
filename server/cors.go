package server

import (
	"slices"

	"github.com/valyala/fasthttp"
)

// What OpenFeature's web providers send and read.
const (
	corsMethods = "GET, POST"
	corsAllow   = "Authorization, Content-Type, Flagd-Selector, If-None-Match, Last-Event-ID, Tiergate-Min-Revision, X-API-Key"
	corsExpose  = "ETag, RateLimit, RateLimit-Policy, Retry-After, Tiergate-Revision"
	corsMaxAge  = "600" // seconds; Chromium keeps two hours at most
)

// cors lets pages of some origins ask from a browser. The zero value lets none.
type cors struct {
	all     bool
	origins []string
}

func corsOf(origins []string) cors {
	return cors{all: slices.Contains(origins, "*"), origins: origins}
}

// allow adds the headers of an answer that a page may read, and reports whether it may.
func (c cors) allow(ctx *fasthttp.RequestCtx) bool {
	if len(c.origins) == 0 {
		return false
	}
	h := &ctx.Response.Header
	h.Add(fasthttp.HeaderVary, fasthttp.HeaderOrigin)
	origin := string(ctx.Request.Header.Peek(fasthttp.HeaderOrigin))
	switch {
	case origin == "":
		return false
	case c.all:
		h.Set(fasthttp.HeaderAccessControlAllowOrigin, "*")
	case slices.Contains(c.origins, origin):
		h.Set(fasthttp.HeaderAccessControlAllowOrigin, origin)
	default:
		return false
	}
	h.Set(fasthttp.HeaderAccessControlExposeHeaders, corsExpose)
	return true
}

// answer adds the headers and, when the request is a preflight, answers it.
func (c cors) answer(ctx *fasthttp.RequestCtx) bool {
	if !c.allow(ctx) || !ctx.IsOptions() || len(ctx.Request.Header.Peek(fasthttp.HeaderAccessControlRequestMethod)) == 0 {
		return false
	}
	h := &ctx.Response.Header
	h.Set(fasthttp.HeaderAccessControlAllowMethods, corsMethods)
	h.Set(fasthttp.HeaderAccessControlAllowHeaders, corsAllow)
	h.Set(fasthttp.HeaderAccessControlMaxAge, corsMaxAge)
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	return true
}
