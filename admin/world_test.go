package admin_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/admin"
)

// allowByRole is the built-in policy of who may do what, in Go.
func allowByRole(_ context.Context, q admin.Question) (bool, error) {
	switch q.Caller.Role {
	case tiergate.PlatformAdmin:
		return true, nil
	case tiergate.PlatformEditor:
		return strings.HasSuffix(q.Action, ".read") || slices.Contains([]string{"flags.write", "limits.write", "policies.check"}, q.Action), nil
	case tiergate.PlatformViewer:
		return strings.HasSuffix(q.Action, ".read"), nil
	}
	return false, nil
}

// checkTargeting refuses the operator "broken".
func checkTargeting(f *tiergate.Flag) error {
	if strings.Contains(string(f.Rules.Targeting), `"broken"`) {
		return tiergate.FieldErrorf("rules.targeting.broken", "there is no operator broken")
	}
	return nil
}

// checkRego refuses modules that do not begin with "package".
func checkRego(_ context.Context, modules map[string]string) (admin.Verdict, error) {
	for file, text := range modules {
		if !strings.HasPrefix(text, "package") {
			return admin.Verdict{Problems: []admin.Spot{{File: file, Row: 1, Col: 1, Message: "package expected"}}}, nil
		}
	}
	return admin.Verdict{Admission: "test 1", Hash: tiergate.ModulesHash(modules)}, nil
}

// An exchange is one request and what its answer must be.
type exchange struct {
	name   string
	method string // "" is GET
	path   string
	token  string            // "" is the admin's, "-" is none
	header map[string]string // more request headers
	body   string            // JSON unless a Content-Type is given

	status  int
	want    map[string]any    // members of the answer, by dotted path
	headers map[string]string // headers of the answer; "" means absent
}

func (x exchange) request() *http.Request {
	if x.method == "" {
		x.method = http.MethodGet
	}
	var body io.Reader
	if x.body != "" {
		body = strings.NewReader(x.body)
	}
	r := httptest.NewRequest(x.method, x.path, body)
	r.Host = "localhost:8080"
	if x.token == "" {
		x.token = adminToken
	}
	if x.token != "-" {
		r.Header.Set("Authorization", "Bearer "+x.token)
	}
	if x.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range x.header {
		r.Header.Set(name, value)
	}
	return r
}

// answerOf sends a request through the app.
func answerOf(t testing.TB, app *fiber.App, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := app.Test(r, -1)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	return resp, string(body)
}

// run sends exchanges one after the other and holds the answers against what is wanted.
func run(t *testing.T, app *fiber.App, exchanges []exchange) {
	t.Helper()
	for _, x := range exchanges {
		resp, body := answerOf(t, app, x.request())
		if resp.StatusCode != x.status {
			t.Errorf("%s: status %d, want %d: %s", x.name, resp.StatusCode, x.status, body)
			continue
		}
		for name, want := range x.headers {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: header %s is %q, want %q", x.name, name, got, want)
			}
		}
		checkMembers(t, x, body)
		if x.status >= 400 {
			checkProblem(t, x, resp, body)
		}
	}
}

func checkMembers(t *testing.T, x exchange, body string) {
	t.Helper()
	var doc any
	if len(x.want) > 0 {
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			t.Errorf("%s: the answer is not JSON: %v: %s", x.name, err, body)
			return
		}
	}
	for path, want := range x.want {
		got, wantJSON := asJSON(at(doc, path)), asJSON(want)
		if got != wantJSON {
			t.Errorf("%s: %s is %s, want %s", x.name, path, got, wantJSON)
		}
	}
}

// checkProblem holds every error against what all errors promise.
func checkProblem(t *testing.T, x exchange, resp *http.Response, body string) {
	t.Helper()
	var p admin.Problem
	if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("%s: an error of type %q: %s", x.name, ct, body)
	}
	if x.method == http.MethodHead {
		return
	}
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Errorf("%s: the problem is not JSON: %v: %s", x.name, err, body)
	}
	if p.Status != x.status || p.Title == "" || p.Code == "" || p.Detail == "" || !strings.HasPrefix(p.Type, "/docs#problem-") {
		t.Errorf("%s: the problem is not whole: %s", x.name, body)
	}
	if p.RequestID == "" || p.RequestID != resp.Header.Get("X-Request-Id") {
		t.Errorf("%s: request id %q in the body, %q in the header", x.name, p.RequestID, resp.Header.Get("X-Request-Id"))
	}
}

// at follows a dotted path; numbers index arrays.
func at(doc any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		switch d := doc.(type) {
		case map[string]any:
			doc = d[name]
		case []any:
			i := int(name[0] - '0')
			if i >= len(d) {
				return nil
			}
			doc = d[i]
		default:
			return nil
		}
	}
	return doc
}

func asJSON(v any) string {
	out, _ := json.Marshal(v)
	return string(out)
}
