package client

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
)

// A Middleware guards handlers of net/http. Client and Subject are needed.
type Middleware struct {
	Guard
	// Subject says who sends a request: from a session, a token, a certificate; never from what
	// the sender may write as it likes. It is called for each request.
	Subject func(*http.Request) Subject
	// Use adds to the use of a request, such as its cost or an idempotency key; nil adds nothing.
	Use func(*http.Request, *Use)
}

// RequireFeature answers 403 {"error":"Feature not available for your tier"} unless the subject
// may use the feature.
func (m Middleware) RequireFeature(feature string) func(http.Handler) http.Handler {
	return m.guard(feature, m.Guard.RequireFeature)
}

// EnforceLimit takes one use of the feature for each request, or answers 429
// {"error":"Usage limit exceeded"}. The headers RateLimit and RateLimit-Policy tell what is left,
// and Retry-After when to come again.
func (m Middleware) EnforceLimit(feature string) func(http.Handler) http.Handler {
	return m.guard(feature, m.Guard.EnforceLimit)
}

func (m Middleware) guard(feature string, decide func(context.Context, Use) Outcome) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			u := Use{Feature: feature, Subject: m.Subject(r)}
			if m.Use != nil {
				m.Use(r, &u)
			}
			o := decide(r.Context(), u)
			maps.Copy(w.Header(), o.Header)
			if o.Pass {
				next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), decisionKey{}, o.Decision)))
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(o.Status)
			_, _ = w.Write(o.Body())
		})
	}
}

// Body is what is answered instead of letting a request pass.
func (o Outcome) Body() []byte {
	text, _ := json.Marshal(map[string]string{"error": o.Error}) // strings always have a JSON form
	return text
}

type decisionKey struct{}

// DecisionOf returns what the innermost middleware around a handler decided; the zero Decision
// when there is none, or the sidecar was away.
func DecisionOf(ctx context.Context) Decision {
	d, _ := ctx.Value(decisionKey{}).(Decision)
	return d
}
