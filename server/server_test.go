package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
)

// fasthttp's pool of workers sees that it is stopped only when it next wakes, within ten
// seconds; its date is kept by one goroutine for ever.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	)
}

// counted remembers which door answered with which status.
type counted struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counted) observe(door string) func(int) {
	return func(status int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.n[fmt.Sprintf("%s %d", door, status)]++
	}
}

func get(t *testing.T, app *fiber.App, path string) (int, http.Header, string) {
	t.Helper()
	req := httptest.NewRequest("GET", path, nil)
	req.Host = "localhost"
	res, err := app.Test(req, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(body)
}

// Doors and routes answer their own paths; failures become problems; all are counted, and
// a panic is logged, counted and survived.
func TestApp_doors_and_routes(t *testing.T) {
	counts := &counted{n: map[string]int{}}
	panics := 0
	var log bytes.Buffer
	door := server.Door{Name: "door", Prefix: "/door/", Handle: func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Path()) == "/door/panic" {
			panic("boom")
		}
		ctx.SetBodyString("door")
	}}
	app := server.NewApp(server.Config{
		Observe: counts.observe, Panicked: func() { panics++ }, Log: slog.New(slog.NewTextHandler(&log, nil)),
	}, door)
	app.Get("/v1/ok", func(c *fiber.Ctx) error { return c.SendString("route") })
	app.Get("/v1/error", func(*fiber.Ctx) error { return errors.New("secret detail") })
	app.Get("/v1/refused", func(*fiber.Ctx) error { return fiber.NewError(409, "no, because") })
	app.Get("/v1/panic", func(*fiber.Ctx) error { panic("boom") })
	for path, want := range map[string]string{
		"/door/x":     "200 door",
		"/v1/ok":      "200 route",
		"/door/panic": `500 {"type":"about:blank","title":"Internal Server Error","status":500,"detail":"internal error"}`,
		"/v1/panic":   `500 {"type":"about:blank","title":"Internal Server Error","status":500,"detail":"internal error"}`,
		"/v1/error":   `500 {"type":"about:blank","title":"Internal Server Error","status":500,"detail":"internal error"}`,
		"/v1/refused": `409 {"type":"about:blank","title":"Conflict","status":409,"detail":"no, because"}`,
		"/v1/none":    `404 {"type":"about:blank","title":"Not Found","status":404,"detail":"Cannot GET /v1/none"}`,
	} {
		status, header, body := get(t, app, path)
		if got := fmt.Sprintf("%d %s", status, body); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		if status >= 400 && header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: Content-Type %q", path, header.Get("Content-Type"))
		}
	}
	want := map[string]int{"door 200": 1, "door 500": 1, " 200": 1, " 500": 2, " 409": 1, " 404": 1}
	if !maps.Equal(want, counts.n) {
		t.Errorf("counts mismatch (-want +got):\n%s", cmp.Diff(want, counts.n))
	}
	if panics != 2 || strings.Count(log.String(), "boom") != 2 || !strings.Contains(log.String(), "secret detail") {
		t.Errorf("%d panics, log:\n%s", panics, log.String())
	}
}

// When the program is told to stop, requests under way are finished and then nothing is left.
func TestServe_finishes_requests_under_way(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	app := server.NewApp(server.Config{})
	app.Get("/slow", func(c *fiber.Ctx) error {
		close(begun)
		<-finish
		return c.SendString("done")
	})
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, app, ln, 10*time.Second) }()
	idle, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = idle.Close() }()
	answered := make(chan string, 1)
	go func() {
		res, err := http.Get("http://" + ln.Addr().String() + "/slow")
		if err != nil {
			answered <- err.Error()
			return
		}
		defer func() { _ = res.Body.Close() }()
		body, _ := io.ReadAll(res.Body)
		answered <- string(body)
	}()
	<-begun
	stop()
	close(finish)
	if got := <-answered; got != "done" {
		t.Errorf("the request under way got %q", got)
	}
	_ = idle.Close()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error("the listener is still open")
	}
}

// A listener that breaks ends Serve with the reason.
func TestServe_says_why_its_listener_broke(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := server.Serve(t.Context(), server.NewApp(server.Config{}), ln, time.Second); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// Beyond the bound a connection is refused in the form of its door and closed, also when
// nobody can be refused in that form any more; it is served again when one has gone.
func TestApp_bounds_connections(t *testing.T) {
	counts := &counted{n: map[string]int{}}
	door := server.Door{
		Name: "door", Prefix: "/door/",
		Handle: func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("served") },
		Refuse: func(ctx *fasthttp.RequestCtx, status int, detail string) {
			ctx.SetStatusCode(status)
			ctx.SetBodyString("refused: " + detail)
		},
	}
	app := server.NewApp(server.Config{MaxConns: 1, Observe: counts.observe}, door)
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{Timeouts: server.Timeouts})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, app, ln, 10*time.Second) }()
	request := "GET /door/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
	held := dial(t, ln.Addr().String(), request)
	if got := readSome(t, held); !strings.Contains(got, "served") {
		t.Errorf("the first connection got %q", got)
	}
	second := dial(t, ln.Addr().String(), request)
	all, err := io.ReadAll(second) // to the end that the server makes
	if got := string(all); err != nil || !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.HasSuffix(got, "refused: there are too many connections") ||
		!strings.Contains(got, "Connection: close") || !strings.Contains(got, "Retry-After: 1") {
		t.Errorf("the second connection got %q, %v", got, err)
	}
	_ = second.Close()
	if _, err := io.WriteString(held, request); err != nil {
		t.Fatal(err)
	}
	if got := readSome(t, held); !strings.Contains(got, "served") {
		t.Errorf("the first connection then got %q", got)
	}
	var crowd []net.Conn
	for range 80 {
		crowd = append(crowd, dial(t, ln.Addr().String(), ""))
	}
	last := dial(t, ln.Addr().String(), "")
	if got := readSome(t, last); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("a connection beyond all bounds got %q", got)
	}
	for _, c := range append(crowd, held, last) {
		_ = c.Close()
	}
	for got := ""; !strings.HasPrefix(got, "HTTP/1.1 200 "); {
		again := dial(t, ln.Addr().String(), "")
		_, _ = io.WriteString(again, request) // a refusal in plain text does not wait for it
		all, _ := io.ReadAll(io.LimitReader(again, 13))
		got = string(all)
		_ = again.Close()
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if counts.n["door 503"] == 0 || counts.n["door 200"] < 3 {
		t.Errorf("the counts are %v", counts.n)
	}
}

func dial(t *testing.T, addr, send string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	return c
}

func readSome(t *testing.T, c net.Conn) string {
	t.Helper()
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}
