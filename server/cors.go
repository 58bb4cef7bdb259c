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
)

// CORSMaxAge is how many seconds a browser keeps what it was allowed; Chromium, two hours at most.
const CORSMaxAge = "600"

// AllowedOrigin is what a page of an origin is told in Access-Control-Allow-Origin when pages of
// some origins, "*" for all, may ask; "" for nothing.
func AllowedOrigin(origins []string, origin string) string {
	switch {
	case origin == "":
		return ""
	case slices.Contains(origins, "*"):
		return "*"
	case slices.Contains(origins, origin):
		return origin
	}
	return ""
}

// cors are the origins whose pages may ask from a browser.
type cors []string

// allow adds the headers of an answer that a page may read, and reports whether it may.
func (c cors) allow(ctx *fasthttp.RequestCtx) bool {
	if len(c) == 0 {
		return false
	}
	h := &ctx.Response.Header
	h.Add(fasthttp.HeaderVary, fasthttp.HeaderOrigin)
	allowed := AllowedOrigin(c, string(ctx.Request.Header.Peek(fasthttp.HeaderOrigin)))
	if allowed == "" {
		return false
	}
	h.Set(fasthttp.HeaderAccessControlAllowOrigin, allowed)
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
	h.Set(fasthttp.HeaderAccessControlMaxAge, CORSMaxAge)
	ctx.SetStatusCode(fasthttp.StatusNoContent)
	return true
}
