package server_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
)

// Where a door reads no bodies, a request that names a length and sends nothing is answered at
// once, and whatever comes behind its header is no second request.
func TestBodiless_answers_without_the_body(t *testing.T) {
	door := server.Door{Name: "d", Prefix: "/d/", Bodiless: "/d/ask", Handle: func(ctx *fasthttp.RequestCtx) {
		ctx.SetBodyString("seen " + string(ctx.Path()) + string(ctx.Request.Body()))
	}}
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, server.NewApp(server.Config{}, door), ln, 5*time.Second) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	const second = "GET /d/second HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	for name, tc := range map[string]struct {
		raw     string
		answers int
	}{
		"a length and no body":     {"GET /d/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000000\r\n\r\n", 1},
		"a length of another":      {"POST /d/ask?x=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n" + second, 1},
		"chunks":                   {"POST /d/ask HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + second, 1},
		"no body, and another":     {"GET /d/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n" + second, 2},
		"no length, and another":   {"GET /d/ask HTTP/1.1\r\nHost: localhost\r\n\r\n" + second, 2},
		"bodies are read nearby":   {"POST /d/other HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello" + second, 2},
		"a length and an encoding": {"POST /d/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = io.WriteString(c, tc.raw)
			all, err := io.ReadAll(c) // the client waits: that the server ends the connection is part of the promise
			if err != nil {
				t.Errorf("read: %v", err)
			}
			if n := strings.Count(string(all), "HTTP/1.1 "); n != tc.answers {
				t.Errorf("%d answers, want %d:\n%s", n, tc.answers, all)
			}
		})
	}
}
