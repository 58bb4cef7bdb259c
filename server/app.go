package server

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate/internal/listen"
)

// The limits of every listener.
const (
	MaxHeaderBytes  = 8 << 10
	writeBuffer     = 16 << 10  // holds a bulk answer about 100 flags, so that it is one write
	MaxBodyBytes    = 1_000_000 // the default of Config.BodyLimit: flagd's limit
	DefaultMaxConns = 4096
)

// Timeouts are those of the listeners that apps are served on. An app itself sets none:
// that would cost each request six looks at a clock.
var Timeouts = listen.Timeouts{Request: 5 * time.Second, Write: 10 * time.Second, Idle: time.Minute}

// Config says how an app answers. The zero value serves loopback hosts without CORS.
type Config struct {
	Hosts       listen.Hosts // the Host headers that are answered
	CORSOrigins []string     // the origins that browsers may ask from, "*" for all; none means no CORS
	BodyLimit   int          // bytes of a request body; 0 means MaxBodyBytes
	MaxConns    int          // connections at once, also idle ones; 0 means DefaultMaxConns; 503 is the answer beyond
	Log         *slog.Logger // panics and connection-level trouble; nil means none

	// Observe returns what is told the status of each answer of a door, "" for all that no
	// door answers; nil means nobody. It is called once per door, the result concurrently.
	Observe func(door string) func(status int)
	// Panicked is told of each request that ended in a panic; nil means nobody.
	Panicked func()
}

// A Door answers all requests below one path. It stands before Fiber's router, which
// costs about as much as a decision does.
type Door struct {
	Name   string // names it in metrics
	Prefix string // the path that its requests begin with, such as "/ofrep/"
	// Handle answers a request. It may take the connection over (fasthttp's Hijack), and then
	// closes it itself: such a connection is none of MaxConns, and nobody waits for its end.
	Handle fasthttp.RequestHandler
	// Bodiless is a path below Prefix at which bodies are never read, "" for none: a proxy
	// that asks there may name the length of a body that it does not send. Such a connection
	// ends with the answer, whatever comes behind its header.
	Bodiless string
	// Refuse writes an error in the door's own form, for a request that never reaches
	// Handle or that made it panic. nil means a problem document.
	Refuse func(ctx *fasthttp.RequestCtx, status int, detail string)
}

// NewApp returns an app that serves doors and, for all other paths, the routes that the
// caller adds to it. Errors of those routes become problem documents. What cannot be read
// as a request is refused in the form of the door that it asked for, or of the first one where
// that is not known. Timeouts are the listener's; see Timeouts.
func NewApp(cfg Config, doors ...Door) *fiber.App {
	f := newFront(cfg, doors)
	c := &crowd{most: int64(cmp.Or(cfg.MaxConns, DefaultMaxConns))}
	app := fiber.New(fiber.Config{
		DisableStartupMessage:        true,
		CaseSensitive:                true,
		StrictRouting:                true,
		BodyLimit:                    cmp.Or(cfg.BodyLimit, MaxBodyBytes),
		Concurrency:                  int(c.most) + spare,
		ReadBufferSize:               MaxHeaderBytes,
		WriteBufferSize:              writeBuffer,
		DisablePreParseMultipartForm: true,
		ErrorHandler:                 f.routeFailed,
	})
	f.routes = app.Handler()
	s := app.Server()
	s.Handler, s.ConnState = c.guard(f), c.changed
	s.ErrorHandler = f.connectionFailed
	if slices.ContainsFunc(doors, func(d Door) bool { return d.Bodiless != "" }) {
		s.HeaderReceived = f.headerReceived
	}
	s.CloseOnShutdown = true
	s.KeepHijackedConns = true // so that they hold no buffer of a request
	s.LazyRequestTime = true
	return app
}
