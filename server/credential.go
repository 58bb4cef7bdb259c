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
	h := &ctx.Request.Header
	text, err := Presented(string(h.Peek(fasthttp.HeaderAuthorization)), string(h.Peek("X-Api-Key")))
	if err != nil {
		return nil, err
	}
	return resolve(text)
}

// Presented returns the text of the key that the two headers present, each "" when it is not
// there; it is a part of one of them. None, and two that differ, are Unauthorized.
func Presented(authorization, apiKey string) (string, error) {
	text := apiKey
	if authorization != "" {
		scheme, token, hasScheme := strings.Cut(authorization, " ")
		token = strings.Trim(token, " ")
		switch {
		case !hasScheme: // as the documentation of some providers has it
			token = scheme
		case !strings.EqualFold(scheme, "Bearer") || token == "":
			return "", tiergate.Errorf(tiergate.Unauthorized, "the Authorization header is not a bearer token")
		}
		if text != "" && text != token {
			return "", tiergate.Errorf(tiergate.Unauthorized, "Authorization and X-API-Key name different keys")
		}
		text = token
	}
	if text == "" {
		return "", tiergate.Errorf(tiergate.Unauthorized, "an API key is needed: send Authorization: Bearer or X-API-Key")
	}
	return text, nil
}

// Refusal says why a key was not had, so that it may be shown: its code is Forbidden,
// Unavailable, Unauthorized or Internal. A resolver that returned neither a key nor an error
// would let everybody in: a nil err is Internal, too.
func Refusal(err error) *tiergate.Error {
	switch tiergate.CodeOf(err) {
	case tiergate.Forbidden: // the key is valid: its holder may know why it is not enough
		e, _ := errors.AsType[*tiergate.Error](err)
		return tiergate.Errorf(tiergate.Forbidden, "%s", e.Message)
	case tiergate.Unavailable:
		return tiergate.Errorf(tiergate.Unavailable, "the API keys have not been loaded yet")
	case tiergate.Unauthorized:
		return tiergate.Errorf(tiergate.Unauthorized, "no valid API key: send Authorization: Bearer or X-API-Key")
	}
	return tiergate.Errorf(tiergate.Internal, "the API key could not be checked")
}

// Admit is Credential for a door: without an error the key, which is nil when nobody needs
// one. Otherwise status and detail are the answer, whose headers have been set.
func Admit(ctx *fasthttp.RequestCtx, resolve Resolver) (key *tiergate.Key, status int, detail string) {
	key, err := Credential(ctx, resolve)
	if err == nil && (key != nil || resolve == nil) {
		return key, 0, ""
	}
	h, why := &ctx.Response.Header, Refusal(err)
	switch why.Code {
	case tiergate.Forbidden:
		return nil, fasthttp.StatusForbidden, why.Message
	case tiergate.Unavailable:
		h.Set(fasthttp.HeaderRetryAfter, "1")
		return nil, fasthttp.StatusServiceUnavailable, why.Message
	case tiergate.Unauthorized:
		h.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
		return nil, fasthttp.StatusUnauthorized, why.Message
	}
	return nil, fasthttp.StatusInternalServerError, why.Message
}
