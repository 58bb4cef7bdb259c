package server

import (
	"net"
	"sync"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// spare is how many connections beyond the bound are let in, to be answered that there are
// too many. What comes beyond those too is answered by fasthttp, as plain text.
const spare = 64

// A crowd knows which connections are beyond the bound. A connection stays what it was when
// it came: those that were served are served on. Safe for concurrent use.
type crowd struct {
	most   int64
	open   atomic.Int64
	beyond sync.Map // of net.Conn
	extra  atomic.Int64
}

// changed is told of each connection that comes or goes.
func (c *crowd) changed(conn net.Conn, state fasthttp.ConnState) {
	switch state {
	case fasthttp.StateNew:
		if c.open.Add(1) > c.most {
			c.beyond.Store(conn, nil)
			c.extra.Add(1)
		}
	case fasthttp.StateClosed, fasthttp.StateHijacked:
		c.open.Add(-1)
		if _, was := c.beyond.LoadAndDelete(conn); was {
			c.extra.Add(-1)
		}
	}
}

// outside reports whether a connection is beyond the bound.
func (c *crowd) outside(conn net.Conn) bool {
	if c.extra.Load() == 0 {
		return false
	}
	_, is := c.beyond.Load(conn)
	return is
}

// guard refuses requests on connections beyond the bound, in the form of their door, and
// ends those connections.
func (c *crowd) guard(f *front) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if !c.outside(ctx.Conn()) {
			f.serve(ctx)
			return
		}
		door := f.doorFor(ctx)
		f.cors.allow(ctx)
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
		door.Refuse(ctx, fasthttp.StatusServiceUnavailable, "there are too many connections")
		ctx.SetConnectionClose()
		door.observe(fasthttp.StatusServiceUnavailable)
	}
}
