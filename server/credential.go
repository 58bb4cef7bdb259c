package server

import (
	"errors"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
)

// A Resolver finds the key that a presented text opens. Its errors are Unauthorized,
// Forbidden when the key may not do this, or Unavailable while no keys are known yet. It
// may keep text. Safe for concurrent use.
type Resolver func(text string) (*tiergate.Key, error)

// Credential returns the key that a request presents as "Authorization: Bearer …", as
// "Authorization: …" without a scheme, or as "X-API-Key: …". A nil resolve means that nobody needs one: the key is nil.
func Credential(ctx *fasthttp.RequestCtx, resolve Resolver) (*tiergate.Key, error) {
	if resolve == nil {
		return nil, nil
	}
	text := string(ctx.Request.Header.Peek("X-Api-Key"))
	if authorization := string(ctx.Request.Header.Peek(fasthttp.HeaderAuthorization)); authorization != "" {
		scheme, token, hasScheme := strings.Cut(authorization, " ")
		token = strings.Trim(token, " ")
		switch {
		case !hasScheme: // as the documentation of some providers has it
			token = scheme
		case !strings.EqualFold(scheme, "Bearer") || token == "":
			return nil, tiergate.Errorf(tiergate.Unauthorized, "the Authorization header is not a bearer token")
		}
		if text != "" && text != token {
			return nil, tiergate.Errorf(tiergate.Unauthorized, "Authorization and X-API-Key name different keys")
		}
		text = token
	}
	if text == "" {
		return nil, tiergate.Errorf(tiergate.Unauthorized, "an API key is needed: send Authorization: Bearer or X-API-Key")
	}
	return resolve(text)
}

// Admit is Credential for a door: without an error the key, which is nil when nobody needs
// one. Otherwise status and detail are the answer, whose headers have been set.
func Admit(ctx *fasthttp.RequestCtx, resolve Resolver) (key *tiergate.Key, status int, detail string) {
	key, err := Credential(ctx, resolve)
	if err == nil && (key != nil || resolve == nil) {
		return key, 0, ""
	}
	h := &ctx.Response.Header
	switch tiergate.CodeOf(err) {
	case tiergate.Forbidden: // the key is valid: its holder may know why it is not enough
		e, _ := errors.AsType[*tiergate.Error](err)
		return nil, fasthttp.StatusForbidden, e.Message
	case tiergate.Unavailable:
		h.Set(fasthttp.HeaderRetryAfter, "1")
		return nil, fasthttp.StatusServiceUnavailable, "the API keys have not been loaded yet"
	case tiergate.Unauthorized:
		h.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
		return nil, fasthttp.StatusUnauthorized, "no valid API key: send Authorization: Bearer or X-API-Key"
	}
	// A resolver without key and without error would let everybody in.
	return nil, fasthttp.StatusInternalServerError, "the API key could not be checked"
}
