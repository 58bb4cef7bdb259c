package admin_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/admin"
)

// Without exactly one valid token nobody comes in, and the answer says how to.
func TestAuth_without_a_token(t *testing.T) {
	app := admin.New(newWorld(t).config)
	for name, value := range map[string]string{
		"none":            "",
		"another scheme":  "Basic " + adminToken,
		"no secret":       "Bearer ",
		"no scheme":       adminToken,
		"unknown":         "Bearer nobody",
		"almost":          "Bearer " + adminToken + "x",
		"a part":          "Bearer " + adminToken[:10],
		"huge":            "Bearer " + strings.Repeat("x", 4000),
		"another spelled": "Bearer  " + adminToken,
	} {
		run(t, app, []exchange{{
			name: name, path: "/api/features", token: "-", header: map[string]string{"Authorization": value}, status: 401,
			want: map[string]any{"code": "unauthorized"}, headers: map[string]string{"WWW-Authenticate": `Bearer realm="tiergate"`},
		}})
	}
	twice := exchange{path: "/api/features"}.request()
	twice.Header.Add("Authorization", "Bearer "+viewerToken)
	if resp, body := answerOf(t, app, twice); resp.StatusCode != 401 {
		t.Errorf("two tokens: status %d: %s", resp.StatusCode, body)
	}
	run(t, app, []exchange{{name: "the scheme in lower case", path: "/api/features", token: "-", header: map[string]string{"Authorization": "bearer " + viewerToken}, status: 200}})
}

// Who may not do something is told so before the body is looked at, and nothing happens.
func TestAuth_roles(t *testing.T) {
	w := newWorld(t)
	run(t, admin.New(w.config), []exchange{
		{name: "a viewer reads", path: "/api/features", token: viewerToken, status: 200},
		{name: "a viewer does not write", method: "POST", path: "/api/features", token: viewerToken, body: `not JSON`, status: 403, want: map[string]any{"code": "forbidden"}},
		{name: "an editor writes features", method: "POST", path: "/api/features", token: editorToken, body: `{"name":"x"}`, status: 201},
		{name: "an editor does not write tiers", method: "DELETE", path: "/api/tiers/free", token: editorToken, status: 403},
		{name: "an editor checks policies", method: "POST", path: "/api/policies/check", token: editorToken, body: `{"modules":{"a.rego":"package a"}}`, status: 200},
		{name: "an editor does not publish", method: "POST", path: "/api/policies", token: editorToken, body: `{"modules":{"a.rego":"package a"}}`, status: 403},
		{name: "an editor does not roll back", method: "POST", path: "/api/policies/rollback", token: editorToken, body: `{"version":0}`, status: 403},
	})
	if len(w.tiers.writes) != 0 || len(w.policies.published) != 0 {
		t.Error("what was refused happened")
	}
}

// The question that is asked names the caller, the action and the thing.
func TestAuth_question(t *testing.T) {
	w := newWorld(t)
	var asked admin.Question
	w.config.Allow = func(_ context.Context, q admin.Question) (bool, error) {
		asked = q
		return true, nil
	}
	run(t, admin.New(w.config), []exchange{{name: "read", path: "/api/teams/a%2Fb/members", token: viewerToken, status: 404}})
	want := admin.Question{
		Caller: tiergate.Caller{ID: "token:viewer", Role: tiergate.PlatformViewer}, Action: "teams.read", Resource: admin.Resource{Kind: "teams", ID: "a/b"},
	}
	if asked != want {
		t.Errorf("asked %+v, want %+v", asked, want)
	}
}

// Whoever cannot be asked, or is not there to be asked, allows nothing.
func TestAuth_fails_closed(t *testing.T) {
	w := newWorld(t)
	w.config.Allow = nil
	run(t, admin.New(w.config), []exchange{{name: "nobody to ask", path: "/api/features", status: 403}})
	w.config.Allow = func(context.Context, admin.Question) (bool, error) { return true, errors.New("overrun") }
	run(t, admin.New(w.config), []exchange{{name: "no answer", path: "/api/features", status: 500, want: map[string]any{"detail": "internal error"}}})
	w.config.Allow = func(context.Context, admin.Question) (bool, error) {
		return false, tiergate.Errorf(tiergate.Unavailable, "no policy is in force yet")
	}
	run(t, admin.New(w.config), []exchange{{name: "not yet", path: "/api/features", status: 503, headers: map[string]string{"Retry-After": "1"}}})
	w = newWorld(t)
	w.config.Tokens = nil
	run(t, admin.New(w.config), []exchange{{name: "no tokens", path: "/api/features", status: 401}})
}

// Wherever a token is put, it is in no log line and in no answer.
func TestAuth_tokens_are_never_logged(t *testing.T) {
	w := newWorld(t)
	var log lockedBuffer
	w.config.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.config.Wait = func(context.Context, tiergate.Resume) error { return errors.New("not in force") }
	w.config.Users = nil // a nil service panics
	app := admin.New(w.config)
	for _, x := range []exchange{
		{path: "/api/features"},
		{path: "/api/features", token: "wrong-" + adminToken},
		{path: "/api/features?token=" + adminToken},
		{method: "POST", path: "/api/features", body: `{"name":"x"}`},
		{method: "POST", path: "/api/features", body: `{"name":"` + adminToken + `","colour":1}`},
		{path: "/api/users"},
		{path: "/api/features", header: map[string]string{"X-Request-Id": "Bearer " + adminToken}},
		{path: "/api/features", token: "-", header: map[string]string{"Authorization": "Basic " + adminToken}},
		{method: "PROPFIND", path: "/api/features"},
		{path: "/nowhere"},
	} {
		resp, body := answerOf(t, app, x.request())
		for name, values := range resp.Header {
			body += name + strings.Join(values, "")
		}
		if strings.Contains(body, "canary") {
			t.Errorf("%s %s: the answer holds the token: %s", x.method, x.path, body)
		}
	}
	if text := log.String(); strings.Contains(text, "canary") || !strings.Contains(text, "admin request") || !strings.Contains(text, "panic") {
		t.Errorf("the log holds the token, or nothing:\n%s", text)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Every cause stays inside: people get the message of a domain error, and of others nothing.
func TestProblems_show_no_causes(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		want   map[string]any
	}{
		"invalid":      {tiergate.FieldErrorf("rules.tiers", "there is no tier %q", "x").Because(errors.New("secret")), 422, map[string]any{"detail": `there is no tier "x"`, "errors.0.field": "rules.tiers"}},
		"not found":    {tiergate.Errorf(tiergate.NotFound, "no flag").Because(errors.New("secret")), 404, map[string]any{"detail": "no flag", "code": "not_found"}},
		"unavailable":  {tiergate.Errorf(tiergate.Unavailable, "the database is away").Because(errors.New("secret")), 503, map[string]any{"detail": "the database is away"}},
		"internal":     {tiergate.Errorf(tiergate.Internal, "secret"), 500, map[string]any{"detail": "internal error", "code": "internal"}},
		"any other":    {errors.New("secret"), 500, map[string]any{"detail": "internal error", "errors": nil}},
		"unknown code": {tiergate.Errorf("odd", "secret"), 500, map[string]any{"detail": "internal error"}},
		"too slow":     {context.DeadlineExceeded, 503, map[string]any{"code": "unavailable"}},
	} {
		w := newWorld(t)
		var log lockedBuffer
		w.config.Log = slog.New(slog.NewTextHandler(&log, nil))
		w.config.Flags = brokenFlags{err: c.err}
		x := exchange{name: name, path: "/api/features/x", status: c.status, want: c.want}
		app := admin.New(w.config)
		run(t, app, []exchange{x})
		resp, body := answerOf(t, app, x.request())
		if strings.Contains(body, "secret") {
			t.Errorf("%s: the answer shows the cause: %s", name, body)
		}
		if logged := log.String() != ""; logged != (c.status >= 500) {
			t.Errorf("%s: logged: %v, want only our own failures", name, logged)
		}
		if retry := resp.Header.Get("Retry-After"); (retry != "") != (c.status == http.StatusServiceUnavailable) {
			t.Errorf("%s: Retry-After %q", name, retry)
		}
	}
}

type brokenFlags struct {
	tiergate.FlagService
	err error
}

func (b brokenFlags) Flag(context.Context, string) (tiergate.Flag, error) {
	return tiergate.Flag{}, b.err
}

// What a handler asks for is asked with a bound on its time.
func TestAuth_requests_end(t *testing.T) {
	w := newWorld(t)
	bounded := false
	w.config.Allow = func(ctx context.Context, _ admin.Question) (bool, error) {
		_, bounded = ctx.Deadline()
		return true, nil
	}
	run(t, admin.New(w.config), []exchange{{name: "read", path: "/api/tiers", status: 200}})
	if !bounded {
		t.Error("the request has no deadline")
	}
}
