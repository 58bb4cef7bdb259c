package admin_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/tiergate/tiergate/admin"
	"github.com/tiergate/tiergate/internal/listen"
)

// What is not a valid request for this server is refused before any route sees it.
func TestGuard_refuses(t *testing.T) {
	w := newWorld(t)
	post := func(name, body string, status int, header map[string]string) exchange {
		return exchange{name: name, method: "POST", path: "/api/features", body: body, status: status, header: header}
	}
	run(t, admin.New(w.config), []exchange{
		{name: "unknown path", path: "/api/nothing", status: 404, want: map[string]any{"code": "not_found"}},
		{name: "path in another case", path: "/api/Features", status: 404},
		{name: "path with a slash behind", path: "/api/features/", status: 404},
		{name: "method that the path does not know", method: "DELETE", path: "/api/features", body: "", status: 405, want: map[string]any{"code": "method_not_allowed"}, headers: map[string]string{"Allow": "GET, HEAD, POST"}},
		{name: "options", method: "OPTIONS", path: "/api/features", header: map[string]string{"Origin": "https://evil.example"}, status: 405, headers: map[string]string{"Access-Control-Allow-Origin": ""}},
		{name: "a control character in the path", path: "/api/features/%00", status: 400},
		{name: "bytes that are no text in the query", path: "/api/features?name=%ff", status: 400},
		{name: "an escape that is none", path: "/api/features?name=%zz", status: 400},
		post("no type", `{"name":"x"}`, 415, map[string]string{"Content-Type": ""}),
		post("a form", `name=x`, 415, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}),
		post("another charset", `{"name":"x"}`, 415, map[string]string{"Content-Type": "application/json; charset=utf-16"}),
		post("a patch that is none", `{"name":"x"}`, 415, map[string]string{"Content-Type": "application/merge-patch+json"}),
		post("something like JSON", `{"name":"x"}`, 415, map[string]string{"Content-Type": "application/problem+json"}),
		post("a plain encoding", `{"name":"x"}`, 415, map[string]string{"Content-Encoding": "identity"}),
		post("no JSON", `{"name":`, 400, nil),
		post("no body", "", 400, nil),
		post("null", `null`, 422, nil),
		post("a list", `[]`, 422, nil),
		post("two documents", `{"name":"x"}{"name":"y"}`, 400, nil),
		post("a key twice", `{"name":"x","name":"y"}`, 400, nil),
		post("not UTF-8", "{\"name\":\"\xff\"}", 400, nil),
		post("NUL", `{"name":"x","title":"a\u0000"}`, 400, nil),
		post("half a pair", `{"name":"x","title":"\ud800"}`, 400, nil),
		post("deep", `{"name":"x","metadata":`+strings.Repeat(`{"a":`, 100)+"1"+strings.Repeat("}", 101), 400, nil),
		post("deep and unfinished", strings.Repeat("[", 400_000), 400, nil),
		post("many fields", `{`+strings.Repeat(`"a.b`, 1)+`":1,"name":"x"}`, 422, nil),
	})
	if len(w.flags.things) != 0 {
		t.Errorf("%d things were stored", len(w.flags.things))
	}
}

// A body of the largest size that all invalid fields fill costs one short problem.
func TestGuard_bounds_the_list_of_faults(t *testing.T) {
	var body strings.Builder
	body.WriteString(`{"name":"x","variants":{`)
	for i := range 20_000 {
		fmt.Fprintf(&body, `"%d.x":null,`, i)
	}
	body.WriteString(`"a":1}`)
	for i := range 10_000 {
		fmt.Fprintf(&body, `,"f%d":1`, i)
	}
	body.WriteString(`}`)
	x := exchange{name: "faults", method: "POST", path: "/api/features", body: body.String(), status: 422, want: map[string]any{"errors.0.field": "f0"}}
	app := admin.New(newWorld(t).config)
	run(t, app, []exchange{x})
	if _, problem := answerOf(t, app, x.request()); len(problem) > 4096 {
		t.Errorf("the problem has %d bytes", len(problem))
	}
}

// Answers say to browsers that they are nothing to run, frame, sniff or keep.
func TestGuard_headers(t *testing.T) {
	want := map[string]string{
		"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "Server": "", "Access-Control-Allow-Origin": "",
	}
	run(t, admin.New(newWorld(t).config), []exchange{
		{name: "an answer", path: "/api/features", status: 200, headers: want, header: map[string]string{"Accept": "text/html"}},
		{name: "an error", path: "/nowhere", status: 404, headers: want},
		{name: "somebody unknown", path: "/api/features", token: "-", status: 401, headers: want},
	})
}

// A request id that could end up as anything but an id is replaced.
func TestGuard_request_ids(t *testing.T) {
	app := admin.New(newWorld(t).config)
	for sent, kept := range map[string]bool{"abc-1": true, "": false, "a b": false, "<x>": false, strings.Repeat("x", 65): false, "0af7651916cd43dd8448eb211c80319c": true} {
		resp, _ := answerOf(t, app, exchange{path: "/api/tiers", header: map[string]string{"X-Request-Id": sent}}.request())
		if got := resp.Header.Get("X-Request-Id"); (got == sent) != kept || got == "" {
			t.Errorf("sent id %q, got %q, kept should be %v", sent, got, kept)
		}
	}
}

// Another host, as a page of a stranger sends it, is refused, whatever a proxy header says.
func TestGuard_hosts(t *testing.T) {
	w := newWorld(t)
	w.config.Hosts = listen.HostsOf([]string{"127.0.0.1:8080"}, []string{"flags.example.com"})
	app := admin.New(w.config)
	for host, status := range map[string]int{
		"localhost:8080": 200, "127.0.0.1:8080": 200, "[::1]:8080": 200, "flags.example.com": 200,
		"evil.example": 421, "evil.example:8080": 421, "localhost.evil.example": 421,
	} {
		r := exchange{path: "/api/tiers", header: map[string]string{"X-Forwarded-Host": "localhost"}}.request()
		r.Host = host
		if resp, body := answerOf(t, app, r); resp.StatusCode != status {
			t.Errorf("host %s: status %d, want %d: %s", host, resp.StatusCode, status, body)
		}
	}
}

// served starts the app on a real listener.
func served(t *testing.T, app *fiber.App) string {
	t.Helper()
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- app.Listener(ln) }()
	t.Cleanup(func() {
		if err := app.ShutdownWithTimeout(5 * time.Second); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// raw sends bytes over a connection of their own and returns the first answer.
func raw(t *testing.T, addr, request string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() { _, _ = io.WriteString(c, request) }()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	return resp, string(body)
}

// What is hardly HTTP gets a problem document too, and no echo of what was sent.
func TestGuard_raw_bad_input(t *testing.T) {
	addr := served(t, admin.New(newWorld(t).config))
	const head = " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminToken + "\r\n"
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 64<<20))
	_ = z.Close()
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"10 MB":               {"POST /api/features" + head + "Content-Type: application/json\r\nContent-Length: 10485760\r\n\r\n" + strings.Repeat("x", 10<<20), 413},
		"10 MB in chunks":     {"POST /api/features" + head + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat("x", 0x10000)+"\r\n", 160) + "0\r\n\r\n", 413},
		"a gzip bomb":         {"POST /api/features" + head + "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: " + fmt.Sprint(bomb.Len()) + "\r\n\r\n" + bomb.String(), 415},
		"a hidden encoding":   {"POST /api/features" + head + "Content-Type: application/json\r\nContent-Encoding:\r\ncontent-encoding: br\r\nContent-Length: 2\r\n\r\n{}", 415},
		"a huge header":       {"GET /api/features" + head + "X: " + strings.Repeat("x", 9000) + "\r\n\r\n", 431},
		"an unknown method":   {"BREW /api/features" + head + "\r\n", 501},
		"no HTTP":             {"hello canary-xyz\r\n\r\n", 400},
		"an odd escape":       {"GET /api/features/%zz" + head + "\r\n", 400},
		"no path":             {"GET nowhere" + head + "\r\n", 400},
		"another host in URL": {"GET http://evil.example/api/features HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n", 421},
		"no host":             {"GET /api/features HTTP/1.1\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n", 400},
		"both lengths":        {"POST /api/features" + head + "Content-Type: application/json\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	} {
		resp, body := raw(t, addr, c.request)
		x := exchange{name: name, status: c.status}
		if resp.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d: %s", name, resp.StatusCode, c.status, body)
			continue
		}
		checkProblem(t, x, resp, body)
		if strings.Contains(body, "canary") || strings.Contains(body, "xxxx") {
			t.Errorf("%s: the answer repeats what was sent: %s", name, body)
		}
	}
}

// A largest flag, three times 128 KiB, fits into one body.
func TestGuard_largest_flag_fits(t *testing.T) {
	large := strings.Repeat("x", 127<<10)
	body := `{"name":"x","type":"string","variants":{"v":"` + large + `"},"rules":{"targeting":{"cat":["` + large + `"]}},"metadata":{"m":"` + large + `"}}`
	run(t, admin.New(newWorld(t).config), []exchange{{name: "large", method: "POST", path: "/api/features", body: body, status: 201}})
}

// Who sends too slowly is told so and hung up on; nothing is unlimited.
func TestGuard_slow_senders(t *testing.T) {
	app := admin.New(newWorld(t).config)
	limits := app.Config()
	if limits.ReadTimeout != 5*time.Second || limits.WriteTimeout != 10*time.Second || limits.IdleTimeout != time.Minute ||
		limits.BodyLimit != 512<<10 || limits.ReadBufferSize != 8<<10 || limits.Concurrency != 1024 || !limits.Immutable {
		t.Errorf("the limits are %+v", limits)
	}
	app.Server().ReadTimeout = 50 * time.Millisecond
	addr := served(t, app)
	for name, request := range map[string]string{
		"half a header": "POST /api/features HTTP/1.1\r\nHost: loc",
		"half a body":   "POST /api/features HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{",
	} {
		resp, body := raw(t, addr, request)
		if resp.StatusCode != http.StatusRequestTimeout || !resp.Close {
			t.Errorf("%s: status %d, close %v: %s", name, resp.StatusCode, resp.Close, body)
			continue
		}
		checkProblem(t, exchange{name: name, status: http.StatusRequestTimeout}, resp, body)
	}
}
