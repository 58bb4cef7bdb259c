package fibergate_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gofiber/fiber/v2"

	"github.com/tiergate/tiergate/client"
	"github.com/tiergate/tiergate/client/fibergate"
)

// sidecar answers each question of a feature with what is said about it.
func sidecar(t *testing.T, answers map[string]func(w http.ResponseWriter)) *client.Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers[r.URL.Path](w)
	}))
	t.Cleanup(s.Close)
	c, err := client.New(client.Options{Target: s.URL, Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func says(status int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("RateLimit", `"l";r=0;t=60`)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// Fiber's routes are guarded as those of net/http: 403 without the feature, 429 without units,
// 503 while the sidecar is away, and what passes knows the decision.
func TestMiddleware(t *testing.T) {
	for name, tc := range map[string]struct {
		check, consume       func(http.ResponseWriter)
		feature, limit       int
		featureBody, limBody string
	}{
		"allowed": {
			says(200, `{"allow":true,"status":200,"tier":"pro"}`), says(200, `{"allow":true,"status":200,"tier":"pro"}`),
			200, 200, "served to alice of pro", "served to alice of pro",
		},
		"not in the tier": {
			says(403, `{"allow":false,"status":403,"reason":"TIER"}`), says(403, `{"allow":false,"status":403,"reason":"TIER"}`),
			403, 403, `{"error":"Feature not available for your tier"}`, `{"error":"Feature not available for your tier"}`,
		},
		"used up": {
			says(429, `{"allow":false,"status":429,"reason":"EXHAUSTED","tier":"pro"}`), says(429, `{"allow":false,"status":429,"reason":"EXHAUSTED"}`),
			200, 429, "served to alice of pro", `{"error":"Usage limit exceeded"}`,
		},
		"away": {
			says(503, `{"code":"unavailable"}`), says(503, `{"code":"unavailable"}`),
			503, 503, `{"error":"Service temporarily unavailable"}`, `{"error":"Service temporarily unavailable"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := sidecar(t, map[string]func(http.ResponseWriter){"/v1/check": tc.check, "/v1/consume": tc.consume})
			m := fibergate.Middleware{
				Guard:   client.Guard{Client: c},
				Subject: func(c *fiber.Ctx) client.Subject { return client.Subject{User: c.Get("X-User")} },
				Use:     func(c *fiber.Ctx, u *client.Use) { u.Metadata = map[string]any{"path": c.Path()} },
			}
			app := fiber.New()
			served := func(c *fiber.Ctx) error {
				return c.SendString("served to " + c.Get("X-User") + " of " + fibergate.DecisionOf(c).Tier)
			}
			app.Get("/feature", m.RequireFeature("f"), served)
			app.Get("/limit", m.EnforceLimit("f"), served)
			for path, want := range map[string]struct {
				status int
				body   string
			}{"/feature": {tc.feature, tc.featureBody}, "/limit": {tc.limit, tc.limBody}} {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
				r.Header.Set("X-User", "alice")
				res, err := app.Test(r, -1)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				if res.StatusCode != want.status || string(body) != want.body {
					t.Errorf("%s: %d %s, want %d %s", path, res.StatusCode, body, want.status, want.body)
				}
				if left := res.Header.Get("RateLimit"); path == "/limit" && name != "away" && left != `"l";r=0;t=60` {
					t.Errorf("%s: RateLimit %q", path, left)
				}
			}
		})
	}
}
