package fibergate

import (
	"context"

	"github.com/gofiber/fiber/v2"

	"github.com/tiergate/tiergate/client"
)

// A Middleware guards handlers of Fiber. Client and Subject are needed.
type Middleware struct {
	client.Guard
	// Subject says who sends a request: from a session, a token, a certificate; never from what
	// the sender may write as it likes. It is called for each request.
	Subject func(*fiber.Ctx) client.Subject
	// Use adds to the use of a request, such as its cost or an idempotency key; nil adds nothing.
	Use func(*fiber.Ctx, *client.Use)
}

// RequireFeature answers 403 {"error":"Feature not available for your tier"} unless the subject
// may use the feature.
func (m Middleware) RequireFeature(feature string) fiber.Handler {
	return m.guard(feature, m.Guard.RequireFeature)
}

// EnforceLimit takes one use of the feature for each request, or answers 429
// {"error":"Usage limit exceeded"}. The headers RateLimit and RateLimit-Policy tell what is left,
// and Retry-After when to come again.
func (m Middleware) EnforceLimit(feature string) fiber.Handler {
	return m.guard(feature, m.Guard.EnforceLimit)
}

func (m Middleware) guard(feature string, decide func(context.Context, client.Use) client.Outcome) fiber.Handler {
	return func(c *fiber.Ctx) error {
		u := client.Use{Feature: feature, Subject: m.Subject(c)}
		if m.Use != nil {
			m.Use(c, &u)
		}
		o := decide(c.UserContext(), u)
		for name, values := range o.Header {
			for _, value := range values {
				c.Set(name, value)
			}
		}
		if o.Pass {
			c.Locals(decisionKey{}, o.Decision)
			return c.Next()
		}
		c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.Status(o.Status).Send(o.Body())
	}
}

type decisionKey struct{}

// DecisionOf returns what the last middleware before a handler decided; the zero Decision when
// there is none, or the sidecar was away.
func DecisionOf(c *fiber.Ctx) client.Decision {
	d, _ := c.Locals(decisionKey{}).(client.Decision)
	return d
}
