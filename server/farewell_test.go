package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
)

// askOn asks over and over on one connection until an answer says that it is the last, and
// returns what went wrong before that.
func askOn(c net.Conn, asked func()) error {
	r := bufio.NewReader(c)
	for {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return fmt.Errorf("send a request: %w", err)
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return fmt.Errorf("a request has no answer: %w", err)
		}
		_, err = io.Copy(io.Discard, res.Body)
		if err != nil || res.StatusCode != 200 {
			return fmt.Errorf("a request is answered with %d, %w", res.StatusCode, err)
		}
		asked()
		if res.Close {
			return nil
		}
	}
}

// A server that is told to end under load loses no request on the connections that its
// clients keep: each gets an answer that says it is the last.
func TestServe_loses_no_request_when_it_ends(t *testing.T) {
	app := server.NewApp(server.Config{})
	app.Get("/", func(c *fiber.Ctx) error { return c.SendString("served") })
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{Timeouts: server.Timeouts})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, app, ln, 10*time.Second) }()
	var clients sync.WaitGroup
	var answers atomic.Int64
	for range 16 {
		c := dial(t, ln.Addr().String(), "")
		clients.Go(func() {
			defer c.Close()
			err := askOn(c, func() {
				if answers.Add(1) == 2000 {
					stop()
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	clients.Wait()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
