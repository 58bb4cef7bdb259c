package examples_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tiergate/tiergate/internal/porttest"
)

const (
	forTier   = `{"error":"Feature not available for your tier"}`
	exceeded  = `{"error":"Usage limit exceeded"}`
	notNow    = `{"error":"Service temporarily unavailable"}`
	aliceAsks = "Authorization: Bearer alice-token"
	bobAsks   = "Authorization: Bearer bob-token"
	carolAsks = "Authorization: Bearer carol-token"
)

// Both services answer 403 without the feature and 429 beyond the limit, in the same words.
func TestService(t *testing.T) {
	for _, pkg := range []string{"./service/nethttp", "./service/fiber"} {
		t.Run(filepath.Base(pkg), func(t *testing.T) {
			stdout, said, _ := start(t, build(t, pkg), "-addr", "127.0.0.1:0", "-tiergate", "http://"+sidecar(t))
			url := "http://" + listening(t, stdout, said)
			for i, tc := range []struct {
				method, path, who string
				status            int
				body              string
			}{
				{"GET", "/brand", "", 401, "who are you?"},
				{"GET", "/brand", carolAsks, 403, forTier},
				{"GET", "/brand", bobAsks, 403, forTier},
				{"GET", "/brand", aliceAsks, 200, "your brand, your colours, enterprise"},
				{"POST", "/exports", carolAsks, 200, "exported, free"},
				{"POST", "/exports", carolAsks, 200, "exported, free"},
				{"POST", "/exports", carolAsks, 200, "exported, free"},
				{"POST", "/exports", carolAsks, 429, exceeded},
				{"POST", "/exports", bobAsks, 200, "exported, pro"},
				{"POST", "/exports", aliceAsks, 200, "exported, enterprise"},
			} {
				got := request(t, tc.method, url+tc.path, "", tc.who)
				if got.status != tc.status || got.body != tc.body {
					t.Errorf("%d: %s %s %s: %d %s", i, tc.method, tc.path, tc.who, got.status, got.body)
				}
				if tc.status == 429 && (got.header.Get("Retry-After") == "" || !strings.HasPrefix(got.header.Get("RateLimit"), `"exports-daily";r=0;t=`)) {
					t.Errorf("%d: headers %v", i, got.header)
				}
			}
		})
	}
}

// Without a sidecar nobody gets what the services guard.
func TestService_without_a_sidecar(t *testing.T) {
	stdout, said, _ := start(t, build(t, "./service/nethttp"), "-addr", "127.0.0.1:0", "-tiergate", "http://"+porttest.Addr(t))
	url := "http://" + listening(t, stdout, said)
	for _, path := range []string{"/brand", "/exports"} {
		method := map[string]string{"/brand": "GET", "/exports": "POST"}[path]
		if got := request(t, method, url+path, "", aliceAsks); got.status != 503 || got.body != notNow || got.header.Get("Retry-After") != "1" {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if !strings.Contains(said.String(), "the sidecar could not be reached") {
		t.Errorf("the service says %q", said)
	}
}

// behindNginx runs nginx with the settings of the example, changed by function, before an
// application that tells what reached it. It returns nginx's address, "" when there is no nginx.
func behindNginx(t *testing.T, tiergate string, change func(string) string) string {
	t.Helper()
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		if nginx = "/usr/sbin/nginx"; !exists(nginx) {
			if required("nginx") {
				t.Fatal("TIERGATE_REQUIRE names nginx, which is not installed")
			}
			fmt.Println("nginx is not installed: its example has not been run")
			return ""
		}
	}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "%s %s of %d bytes", r.Method, r.URL.Path, n)
	}))
	t.Cleanup(app.Close)
	dir, addr := t.TempDir(), porttest.Addr(t)
	addresses := strings.NewReplacer("127.0.0.1:8081", app.Listener.Addr().String(), "127.0.0.1:8016", tiergate, "127.0.0.1:8090", addr)
	for _, file := range []string{"nginx.conf", "tiergate.inc", "tiergate_ask.inc"} {
		text, err := os.ReadFile(filepath.Join("nginx", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(change(addresses.Replace(string(text)))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, said, exited := start(t, nginx, "-p", dir, "-c", "nginx.conf", "-g", "daemon off; master_process off;")
	awaitListener(t, addr, said, exited)
	return "http://" + addr
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func asItIs(s string) string { return s }

// nginx lets through what the sidecar allows, and answers the status that it is told; nothing
// that a client writes changes who it is.
func TestNginx(t *testing.T) {
	url := behindNginx(t, sidecar(t), asItIs)
	if url == "" {
		return
	}
	for i, tc := range []struct {
		method, path, body string
		headers            []string
		status             int
		want               string
	}{
		{"GET", "/brand", "", []string{carolAsks}, 403, forTier},
		{"GET", "/brand", "", []string{aliceAsks}, 200, "GET /brand of 0 bytes"},
		{"GET", "/brand", "", nil, 403, forTier},
		{"GET", "/brand", "", []string{carolAsks, "Tiergate-User: alice", "Tiergate-Team: acme", "Tiergate-Feature: exports"}, 403, forTier},
		{"GET", "/brand?feature=exports&user=alice", "", []string{carolAsks}, 403, forTier},
		{"POST", "/exports", strings.Repeat("x", 100_000), []string{carolAsks}, 200, "POST /exports of 100000 bytes"},
		{"GET", "/exports", "", []string{carolAsks, "Tiergate-Idempotency-Key: mine"}, 200, "GET /exports of 0 bytes"},
		{"DELETE", "/exports/7", "", []string{carolAsks, "Tiergate-Idempotency-Key: mine"}, 200, "DELETE /exports/7 of 0 bytes"},
		{"POST", "/exports", "x", []string{carolAsks}, 429, exceeded},
		{"GET", "/exports", "", []string{carolAsks, "Tiergate-Cost: 0"}, 429, exceeded},
		{"POST", "/exports", "x", []string{bobAsks}, 200, "POST /exports of 1 bytes"},
		{"GET", "/_tiergate/check", "", []string{aliceAsks}, 404, ""},
	} {
		got := request(t, tc.method, url+tc.path, tc.body, tc.headers...)
		if got.status != tc.status || got.body != tc.want && tc.want != "" {
			t.Errorf("%d: %s %s %q: %d %s", i, tc.method, tc.path, tc.headers, got.status, got.body)
		}
		if limited := strings.HasPrefix(got.header.Get("RateLimit"), `"exports-daily";r=`); limited != strings.HasPrefix(tc.path, "/exports") {
			t.Errorf("%d: RateLimit %q", i, got.header.Get("RateLimit"))
		}
		if tc.status == 429 && (got.header.Get("Retry-After") == "" || got.header.Get("Content-Type") != "application/json" || got.header.Get("RateLimit-Policy") != `"exports-daily";q=3;w=86400`) {
			t.Errorf("%d: headers %v", i, got.header)
		}
	}
}

// Settings that leave the length of the client's body in the sub-request, without the body,
// work all the same.
func TestNginx_names_a_length_without_body(t *testing.T) {
	url := behindNginx(t, sidecar(t), func(s string) string { return strings.Replace(s, `proxy_set_header Content-Length "";`, "", 1) })
	if url == "" {
		return
	}
	for range 3 {
		if got := request(t, "POST", url+"/exports", strings.Repeat("x", 100_000), carolAsks); got.status != 200 {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	if got := request(t, "POST", url+"/exports", "x", carolAsks); got.status != 429 {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// Without a sidecar nothing passes nginx.
func TestNginx_without_a_sidecar(t *testing.T) {
	url := behindNginx(t, porttest.Addr(t), asItIs)
	if url == "" {
		return
	}
	if got := request(t, "GET", url+"/brand", "", aliceAsks); got.status != 503 || got.body != notNow {
		t.Errorf("%d %s", got.status, got.body)
	}
}
