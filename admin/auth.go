package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humafiber"
	"github.com/gofiber/fiber/v2"

	"github.com/tiergate/tiergate"
)

// A Token lets a caller in. It holds no secret, only the secret's hash.
type Token struct {
	Hash   [sha256.Size]byte // SHA-256 of the secret; the secret is long and random, so that no salt is needed
	Caller tiergate.Caller
}

// TokenOf returns the token that secret opens.
func TokenOf(secret string, caller tiergate.Caller) Token {
	return Token{Hash: sha256.Sum256([]byte(secret)), Caller: caller}
}

// A Question asks whether a caller may do something.
type Question struct {
	Caller   tiergate.Caller
	Action   string // such as "flags.write": see the table of routes
	Resource Resource
}

// A Resource is the thing that something is done to.
type Resource struct {
	Kind string // "flags", "tiers", "limits", "policies", "teams" or "users"
	ID   string // "" for a list or a thing that is yet to be
}

// MaxSecret bounds a presented secret, so that hashing it costs nothing to speak of. One
// that is longer opens nothing.
const MaxSecret = 512

// callerOf finds out who sends a request. All tokens are compared, each in constant time,
// so that the time of an answer says nothing about any of them.
func (a *api) callerOf(c *fiber.Ctx) (tiergate.Caller, error) {
	refused := tiergate.Errorf(tiergate.Unauthorized, "send a valid token as Authorization: Bearer TOKEN")
	values := c.Request().Header.PeekAll(fiber.HeaderAuthorization)
	if len(values) != 1 {
		return tiergate.Caller{}, refused
	}
	scheme, secret, _ := strings.Cut(string(values[0]), " ")
	if !strings.EqualFold(scheme, "Bearer") || secret == "" || len(secret) > MaxSecret {
		return tiergate.Caller{}, refused
	}
	hash := sha256.Sum256([]byte(secret))
	found := -1
	for i := range a.Tokens {
		if subtle.ConstantTimeCompare(hash[:], a.Tokens[i].Hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return tiergate.Caller{}, refused
	}
	return a.Tokens[found].Caller, nil
}

// mayCall asks whether the caller may take a route. What is not in the table is refused.
func (a *api) mayCall(ctx context.Context, caller tiergate.Caller, r route, id string) error {
	refused := tiergate.Errorf(tiergate.Forbidden, "you may not do this")
	if r.action == "" || a.Allow == nil {
		return refused
	}
	kind, _, _ := strings.Cut(r.action, ".")
	ok, err := a.Allow(ctx, Question{Caller: caller, Action: r.action, Resource: Resource{Kind: kind, ID: id}})
	switch {
	case err != nil:
		return err
	case !ok:
		refused.Message = "you may not do this: " + r.action + " is not for the role " + string(caller.Role)
		return refused
	}
	return nil
}

// A call is what is known of a request by the time its handler runs.
type call struct {
	caller      tiergate.Caller
	fingerprint string // of method, path and body: what an idempotency key stands for
}

type callKey struct{}

func callOf(ctx context.Context) call {
	c, _ := ctx.Value(callKey{}).(call)
	return c
}

// enter is the last guard before a handler: it lets in who may come, bounds the time, and
// hands on a request that cannot be read in a dangerous way.
func (a *api) enter(hc huma.Context, next func(huma.Context)) {
	c := humafiber.Unwrap(hc)
	r := routes[hc.Operation().OperationID]
	c.Locals(operationKey{}, hc.Operation().OperationID)
	ctx, cancel := context.WithTimeout(hc.Context(), requestTime)
	defer cancel()
	caller, err := a.callerOf(c)
	if err == nil {
		err = a.mayCall(ctx, caller, r, request{hc}.id())
	}
	if err != nil {
		if tiergate.CodeOf(err) == tiergate.Unauthorized {
			c.Set(fiber.HeaderWWWAuthenticate, `Bearer realm="tiergate"`)
		}
		a.fail(c, err)
		return
	}
	ctx = context.WithValue(ctx, callKey{}, call{caller: caller, fingerprint: fingerprintOf(c)})
	next(request{huma.WithContext(hc, ctx)})
}

// fingerprintOf tells apart what one idempotency key may not stand for twice.
func fingerprintOf(c *fiber.Ctx) string {
	if c.Method() != http.MethodPost {
		return ""
	}
	h := sha256.New()
	_ = json.NewEncoder(h).Encode([]string{c.Method(), c.Path()}) // a hash takes all
	h.Write(c.BodyRaw())
	return hex.EncodeToString(h.Sum(nil))
}

// problem turns what a service said into what the caller is told.
func (a *api) problem(ctx context.Context, err error) error {
	p := problemOf(err)
	logFailure(ctx, a.log, p, err)
	told := *p
	told.RequestID = requestIDOf(ctx)
	if p.Status == http.StatusServiceUnavailable {
		return huma.ErrorWithHeaders(&told, http.Header{fiber.HeaderRetryAfter: {"1"}})
	}
	return &told
}
