package server

import (
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate/internal/listen"
)

// keptBodyBytes is the largest buffer for bodies that a connection keeps.
const keptBodyBytes = 64 << 10

const notHTTP = "the request is not valid HTTP/1.1"

// front stands before all doors and routes.
type front struct {
	cfg    Config
	log    *slog.Logger
	cors   cors
	doors  []frontDoor
	rest   frontDoor               // answers what no door does
	routes fasthttp.RequestHandler // Fiber's router
}

type frontDoor struct {
	Door
	observe func(status int)
}

func newFront(cfg Config, doors []Door) *front {
	f := &front{cfg: cfg, log: cfg.Log, cors: cfg.CORSOrigins}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.rest = f.doorOf(Door{Handle: func(ctx *fasthttp.RequestCtx) { f.routes(ctx) }})
	for _, d := range doors {
		f.doors = append(f.doors, f.doorOf(d))
	}
	return f
}

func (f *front) doorOf(d Door) frontDoor {
	if d.Refuse == nil {
		d.Refuse = Problem
	}
	observe := func(int) {}
	if f.cfg.Observe != nil {
		observe = f.cfg.Observe(d.Name)
	}
	return frontDoor{Door: d, observe: observe}
}

// doorFor returns the door of a request, by its path as it was sent.
func (f *front) doorFor(ctx *fasthttp.RequestCtx) *frontDoor {
	path := View(ctx.URI().PathOriginal())
	if path == "" { // the target is no URI
		path = View(ctx.RequestURI())
	}
	for i := range f.doors {
		if strings.HasPrefix(path, f.doors[i].Prefix) {
			return &f.doors[i]
		}
	}
	return &f.rest
}

// doorOfFailed returns the door of what failed to become a request, whose path is mostly
// forgotten by then.
func (f *front) doorOfFailed(ctx *fasthttp.RequestCtx) *frontDoor {
	if string(ctx.RequestURI()) == "/" {
		target := targetOf(ctx.Conn())
		if target == "" && len(f.doors) > 0 {
			return &f.doors[0]
		}
		ctx.Request.SetRequestURI(target)
	}
	return f.doorFor(ctx)
}

func (f *front) serve(ctx *fasthttp.RequestCtx) {
	door := f.doorFor(ctx)
	f.answer(ctx, door)
	door.observe(ctx.Response.StatusCode())
	ctx.Request.ReleaseBody(keptBodyBytes) // a connection keeps its buffers between requests
}

func (f *front) answer(ctx *fasthttp.RequestCtx, door *frontDoor) {
	defer f.survive(ctx, door)
	switch p := ctx.Request.Header.Protocol(); {
	case string(p) != "HTTP/1.1" && string(p) != "HTTP/1.0":
		door.Refuse(ctx, fasthttp.StatusHTTPVersionNotSupported, "this version of HTTP is not spoken here")
		ctx.SetConnectionClose()
		return
	case ambiguous(&ctx.Request.Header):
		door.Refuse(ctx, fasthttp.StatusBadRequest, notHTTP)
		ctx.SetConnectionClose()
		return
	}
	if !f.cfg.Hosts.Serves(ctx.LocalAddr(), View(ctx.Request.Header.Host())) {
		door.Refuse(ctx, fasthttp.StatusMisdirectedRequest, listen.WrongHost)
		return
	}
	if f.cors.answer(ctx) {
		return
	}
	door.Handle(ctx)
	if door.bodiless(&ctx.Request.Header) && declaresBody(&ctx.Request.Header) {
		ctx.SetConnectionClose()
		listen.Linger(ctx.Conn())
	}
}

// bodiless reports whether a request's body is not to be read.
func (d *frontDoor) bodiless(h *fasthttp.RequestHeader) bool {
	return d.Bodiless != "" && strings.HasPrefix(View(h.RequestURI()), d.Bodiless)
}

// headerReceived lets no body be waited for where none is read.
func (f *front) headerReceived(h *fasthttp.RequestHeader) (unchanged fasthttp.RequestConfig) {
	for i := range f.doors {
		if f.doors[i].bodiless(h) {
			h.SetContentLength(0)
		}
	}
	return unchanged
}

// survive turns a panic into an answer of 500 and closes the connection.
func (f *front) survive(ctx *fasthttp.RequestCtx, door *frontDoor) {
	reason := recover()
	if reason == nil {
		return
	}
	f.log.Error("a request made the program panic", "door", door.Name, "panic", reason, "stack", string(debug.Stack()))
	if f.cfg.Panicked != nil {
		f.cfg.Panicked()
	}
	ctx.Response.Reset()
	door.Refuse(ctx, fasthttp.StatusInternalServerError, "internal error")
	ctx.SetConnectionClose()
}

// connectionFailed answers what could not be read as a request, in the form of the door that it
// asked for; when that is not known, of the first door.
func (f *front) connectionFailed(ctx *fasthttp.RequestCtx, err error) {
	status, detail := fasthttp.StatusBadRequest, notHTTP
	var timeout net.Error
	switch {
	case isType[*fasthttp.ErrSmallBuffer](err):
		status, detail = fasthttp.StatusRequestHeaderFieldsTooLarge, "the header is larger than 8 KiB"
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		status, detail = fasthttp.StatusRequestEntityTooLarge, "the body is too large"
	case errors.As(err, &timeout) && timeout.Timeout():
		status, detail = fasthttp.StatusRequestTimeout, "the request took too long to arrive"
	}
	door := f.doorOfFailed(ctx)
	ctx.Response.Reset()
	f.cors.allow(ctx)
	door.Refuse(ctx, status, detail)
	door.observe(status)
	listen.Linger(ctx.Conn())
}

// routeFailed answers for a Fiber route that returned an error.
func (f *front) routeFailed(c *fiber.Ctx, err error) error {
	if e, ok := errors.AsType[*fiber.Error](err); ok {
		Problem(c.Context(), e.Code, e.Message)
		return nil
	}
	f.log.Error("a request failed", "path", c.Path(), "error", err)
	Problem(c.Context(), fasthttp.StatusInternalServerError, "internal error")
	return nil
}

func isType[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
