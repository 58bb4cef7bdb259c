package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate/client"
)

// guarded serves two routes behind the middlewares; the user is the header X-User, as a test may
// have it.
func guarded(m client.Middleware) http.Handler {
	if m.Subject == nil {
		m.Subject = func(r *http.Request) client.Subject { return client.Subject{User: r.Header.Get("X-User")} }
	}
	mux := http.NewServeMux()
	served := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "served to "+client.DecisionOf(r.Context()).Tier)
	})
	mux.Handle("/brand", m.RequireFeature("white-label")(served))
	mux.Handle("/read", m.RequireFeature("exports")(served))
	mux.Handle("/exports", m.EnforceLimit("exports")(served))
	mux.Handle("/unknown", m.EnforceLimit("unknown")(served))
	mux.Handle("/branded", m.EnforceLimit("white-label")(served))
	return mux
}

func get(t *testing.T, h http.Handler, path, user string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	r.Header.Set("X-User", user)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// RequireFeature answers 403 to who may not use the feature, EnforceLimit 429 to who has used it
// up, with when to come again; both let the others pass and take what they should.
func TestMiddleware(t *testing.T) {
	g := newGate()
	h := guarded(client.Middleware{Guard: client.Guard{Client: newClient(t, serve(t, "127.0.0.1:0", g.door()), client.Options{})}})
	const notForTier, exceeded = `{"error":"Feature not available for your tier"}`, `{"error":"Usage limit exceeded"}`
	for i, tc := range []struct {
		path, user string
		status     int
		body, left string
	}{
		{"/brand", "carol", 403, notForTier, ""},
		{"/branded", "carol", 403, notForTier, ""},
		{"/unknown", "carol", 403, notForTier, ""},
		{"/read", "carol", 200, "served to pro", ""},
		{"/exports", "carol", 200, "served to pro", `"exports-day";r=2;t=3600`},
		{"/exports", "carol", 200, "served to pro", `"exports-day";r=1;t=3600`},
		{"/exports", "carol", 200, "served to pro", `"exports-day";r=0;t=3600`},
		{"/exports", "carol", 429, exceeded, `"exports-day";r=0;t=3600`},
		{"/read", "carol", 200, "served to pro", ""}, // she has the feature, though it is used up
		{"/exports", "bob", 200, "served to pro", `"exports-day";r=2;t=3600`},
	} {
		w := get(t, h, tc.path, tc.user)
		if w.Code != tc.status || w.Body.String() != tc.body || w.Header().Get("RateLimit") != tc.left {
			t.Errorf("%d: %s: %d %s, RateLimit %s", i, tc.path, w.Code, w.Body, w.Header().Get("RateLimit"))
		}
		retry := ""
		if tc.status == 429 {
			retry = "3600"
		}
		if w.Header().Get("Retry-After") != retry {
			t.Errorf("%d: Retry-After %q", i, w.Header().Get("Retry-After"))
		}
		if tc.status != 200 && w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%d: Content-Type %q", i, w.Header().Get("Content-Type"))
		}
	}
	if used := g.usedBy("carol"); used != 3 {
		t.Errorf("carol has used %d", used)
	}
}

// The use of a request may have a cost and a key of its own: a client's retry takes nothing again.
func TestMiddleware_use(t *testing.T) {
	g := newGate()
	h := guarded(client.Middleware{
		Guard: client.Guard{Client: newClient(t, serve(t, "127.0.0.1:0", g.door()), client.Options{})},
		Use: func(r *http.Request, u *client.Use) {
			u.Cost, u.IdempotencyKey = 2, r.URL.Query().Get("key")
			u.Metadata = map[string]any{"path": r.URL.Path}
		},
	})
	for range 2 {
		if w := get(t, h, "/exports?key=k1", "carol"); w.Code != 200 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if g.usedBy("carol") != 2 || g.last() != `consume exports carol  2 k1 {"path":"/exports"}` {
		t.Errorf("used %d, asked %s", g.usedBy("carol"), g.last())
	}
}

// Nobody passes while the sidecar is away, unless that is wanted; whatever else goes wrong lets
// nobody pass in either case.
func TestMiddleware_when_the_sidecar_is_away(t *testing.T) {
	away := func() (*http.Response, error) { return nil, errors.New("connection refused") }
	problem := func(status int, code, detail string) func() (*http.Response, error) {
		return func() (*http.Response, error) {
			return response(status, "application/problem+json", `{"code":"`+code+`","detail":"`+detail+`"}`)
		}
	}
	decided := func() (*http.Response, error) {
		return response(503, "application/problem+json", `{"allow":false,"status":503,"reason":"UNAVAILABLE","retryAfterMs":1500}`)
	}
	for name, tc := range map[string]struct {
		answer    func() (*http.Response, error)
		when      client.WhenAway
		status    int
		body      string
		complains bool
	}{
		"away":                    {away, client.DenyWhenAway, 503, `{"error":"Service temporarily unavailable"}`, true},
		"away, allowing":          {away, client.AllowWhenAway, 200, "served to ", true},
		"not ready, allowing":     {problem(503, "unavailable", "d"), client.AllowWhenAway, 200, "served to ", true},
		"bad key, allowing":       {problem(401, "unauthorized", "d"), client.AllowWhenAway, 500, `{"error":"The request could not be checked"}`, true},
		"bad question, allowing":  {problem(400, "invalid", "d"), client.AllowWhenAway, 500, `{"error":"The request could not be checked"}`, true},
		"not a sidecar, allowing": {func() (*http.Response, error) { return response(404, "text/html", "") }, client.AllowWhenAway, 500, `{"error":"The request could not be checked"}`, true},
		"key reused":              {problem(422, "key_reused", "another request"), client.AllowWhenAway, 422, `{"error":"another request"}`, true},
		"decided, allowing":       {decided, client.AllowWhenAway, 503, `{"error":"Service temporarily unavailable"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			complaints := 0
			c := newClient(t, "http://sidecar", client.Options{Attempts: 1, HTTP: &http.Client{
				Transport: &transport{answer: func(int, *http.Request) (*http.Response, error) { return tc.answer() }},
			}})
			h := guarded(client.Middleware{Guard: client.Guard{Client: c, WhenAway: tc.when, OnError: func(context.Context, error) { complaints++ }}})
			for _, path := range []string{"/read", "/exports"} {
				w := get(t, h, path, "carol")
				if diff := cmp.Diff(tc.body, w.Body.String()); w.Code != tc.status || diff != "" {
					t.Errorf("%s: %d (-want +got):\n%s", path, w.Code, diff)
				}
				if strings.HasPrefix(name, "away") && tc.status == 503 && w.Header().Get("Retry-After") != "1" {
					t.Errorf("%s: Retry-After %q", path, w.Header().Get("Retry-After"))
				}
			}
			if (complaints == 2) != tc.complains {
				t.Errorf("%d complaints", complaints)
			}
		})
	}
}
