package server_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
)

// named is a door that answers, and refuses, with its name.
func named(name string) server.Door {
	return server.Door{
		Name: name, Prefix: "/" + name + "/",
		Handle: func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("served by " + name) },
		Refuse: func(ctx *fasthttp.RequestCtx, status int, _ string) {
			ctx.SetStatusCode(status)
			ctx.SetBodyString("refused by " + name)
		},
	}
}

// twoDoors serves the doors "first" and "second", to requests that arrive within a time, until the
// test ends; wrap is for TLS.
func twoDoors(t *testing.T, arrival time.Duration, wrap func(net.Listener) net.Listener) (addr string) {
	t.Helper()
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{Timeouts: listen.Timeouts{Request: arrival, Idle: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	app := server.NewApp(server.Config{BodyLimit: 16}, named("first"), named("second"))
	go func() { done <- server.Serve(ctx, app, wrap(ln), 5*time.Second) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// What never becomes a request is refused by the door that it asked for, however little of it
// arrived; and by the first door when nobody knows which one that is.
func TestApp_refuses_what_is_no_request_at_its_door(t *testing.T) {
	certificate := httptest.NewTLSServer(nil)
	defer certificate.Close()
	secured := &tls.Config{Certificates: certificate.TLS.Certificates}
	trusting := certificate.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	trusting.ServerName = "127.0.0.1"
	const head = "POST /second/x HTTP/1.1\r\nHost: localhost\r\n"
	large := "Transfer-Encoding: chunked\r\n\r\n20\r\n" + strings.Repeat("x", 32) + "\r\n0\r\n\r\n"
	tests := map[string]struct{ raw, want string }{
		"a large body":                      {head + "Content-Length: 17\r\n\r\n" + strings.Repeat("x", 17), "413 second"},
		"a large body in chunks":            {head + large, "413 second"},
		"a large body after 100":            {head + "Expect: 100-continue\r\n" + large, "413 second"},
		"a slow body":                       {head + "Content-Length: 10\r\n\r\nx", "408 second"},
		"a slow header":                     {head + "X-Slow: ", "408 second"},
		"a slow request line":               {"POST /sec", "408 first"},
		"a large header":                    {head + "X-Large: " + strings.Repeat("x", 9<<10) + "\r\n\r\n", "431 second"},
		"two lengths":                       {head + "Content-Length: 0\r\nContent-Length: 2\r\n\r\n", "400 second"},
		"an unknown encoding":               {head + "Transfer-Encoding: xchunked\r\n\r\n", "400 second"},
		"a broken chunk":                    {head + "Transfer-Encoding: chunked\r\n\r\nx\r\n", "400 second"},
		"a broken header":                   {head + "no colon\r\n\r\n", "400 second"},
		"a path with a query":               {"GET /second/x?a=b HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n", "400 second"},
		"an absolute target":                {"GET http://localhost/second/x HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n", "400 second"},
		"empty lines in front":              {"\r\n\r\n" + head + "no colon\r\n\r\n", "400 second"},
		"a long path":                       {"GET /second/" + strings.Repeat("x", 200) + " HTTP/1.1\r\nno colon\r\n\r\n", "400 second"},
		"no path of a door":                 {"GET /third HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n", `400 {"type":"about:blank"`},
		"no HTTP at all":                    {"\x16\x03\x01 /second/x \r\n\r\n", "400 first"},
		"the other door's, and then broken": {"GET /first/x HTTP/1.1\r\nHost: localhost\r\n\r\n|" + head + large, "413 second"},
	}
	for how, wrap := range map[string]func(net.Listener) net.Listener{
		"plain": func(ln net.Listener) net.Listener { return ln },
		"TLS":   func(ln net.Listener) net.Listener { return tls.NewListener(ln, secured) },
	} {
		patient, hasty := twoDoors(t, 20*time.Second, wrap), twoDoors(t, time.Second, wrap)
		for name, tc := range tests {
			addr := patient
			if strings.HasPrefix(tc.want, "408") {
				addr = hasty
			}
			t.Run(how+"/"+name, func(t *testing.T) {
				t.Parallel()
				c := dial(t, addr, "")
				if how == "TLS" {
					c = tls.Client(c, trusting)
				}
				defer func() { _ = c.Close() }()
				raw := tc.raw
				if before, rest, two := strings.Cut(raw, "|"); two {
					if _, err := io.WriteString(c, before); err != nil || !strings.Contains(readSome(t, c), "served by first") {
						t.Fatal(err)
					}
					raw = rest
				}
				_, _ = io.WriteString(c, raw)
				all, _ := io.ReadAll(c)
				text := strings.TrimPrefix(string(all), "HTTP/1.1 100 Continue\r\n\r\n")
				status, body, _ := strings.Cut(text, "\r\n\r\n")
				status = strings.TrimPrefix(status, "HTTP/1.1 ")
				if got := status[:min(len(status), 3)] + " " + strings.TrimPrefix(body, "refused by "); !strings.HasPrefix(got, tc.want) {
					t.Errorf("%q, want %s", text, tc.want)
				}
			})
		}
	}
}
