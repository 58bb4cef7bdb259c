package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// farewell is how long clients on kept connections may take to send one more request, whose
// answer tells them to close. A connection that is closed while a request is on its way
// loses that request, and a client may not send a POST twice by itself.
const farewell = 500 * time.Millisecond

// Serve answers on ln until ctx ends; then it closes ln, tells clients to close, lets the
// requests under way finish for at most drain, and returns nil. Connections that are still
// busy then end with the program. It returns earlier only with the reason why ln broke. An
// app is served once.
func Serve(ctx context.Context, app *fiber.App, ln net.Listener, drain time.Duration) error {
	var ending atomic.Bool
	handler := app.Server().Handler
	app.Server().Handler = func(c *fasthttp.RequestCtx) {
		handler(c)
		if ending.Load() {
			c.SetConnectionClose()
		}
	}
	ln = &onceListener{Listener: heardListener{ln}, close: sync.OnceValue(ln.Close)}
	done := make(chan error, 1)
	go func() { done <- app.Listener(ln) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve %s: %w", ln.Addr(), cmp.Or(err, net.ErrClosed))
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	ending.Store(true)
	broken := ln.Close() // also when nobody has accepted yet
	ended := <-done
	SayFarewell(bounded, func() bool {
		return app.Server().GetOpenConnectionsCount()+1 > 0 // it leaves out one for a listener, and there is none any more
	})
	err := app.ShutdownWithContext(bounded)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	if !errors.Is(ended, net.ErrClosed) {
		err = cmp.Or(err, ended)
	}
	return cmp.Or(err, broken)
}

// SayFarewell returns once no connection is there any more, or when they had time enough.
func SayFarewell(ctx context.Context, there func() bool) {
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for there() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// onceListener closes its listener once: Serve does, and then fasthttp.
type onceListener struct {
	net.Listener
	close func() error
}

func (l *onceListener) Close() error { return l.close() }
