package admin

import (
	"context"
	"log/slog"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gofiber/fiber/v2"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/listen"
)

// The limits of the admin listener. A flag at its largest, with 128 KiB each of variants,
// targeting and metadata, fits into one body; all bodies together stay below 512 MiB.
const (
	readTimeout    = 5 * time.Second // for a whole request
	writeTimeout   = 10 * time.Second
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 8 << 10
	maxBodyBytes   = 512 << 10
	maxConns       = 1024
	requestTime    = 8 * time.Second // for a handler and all that it asks
)

// DefaultWaitTime is how long the answer to a change waits for the change to be in force.
const DefaultWaitTime = 2 * time.Second

// Config is what the API stands on. The services, Allow and CheckPolicy must be set.
type Config struct {
	Flags    tiergate.FlagService
	Tiers    tiergate.TierService
	Limits   tiergate.LimitService
	Policies tiergate.PolicyService
	Teams    tiergate.TeamService
	Users    tiergate.UserService

	Tokens []Token // who may come in; none means nobody
	// Allow says whether a caller may do something. nil refuses everything.
	Allow func(ctx context.Context, q Question) (bool, error)
	// Wait returns nil once the revision is in force here, or an error when ctx ends first
	// or the revision was refused. nil means that nobody knows: answers do not say.
	Wait func(ctx context.Context, r tiergate.Resume) error
	// WaitTime bounds Wait; 0 means DefaultWaitTime.
	WaitTime time.Duration

	// CheckFlag refuses a flag whose targeting does not compile, with an Invalid error that
	// names the place below rules.targeting. nil accepts every rule.
	CheckFlag func(f *tiergate.Flag) error
	// CheckPolicy parses, type-checks and admits Rego modules, and changes nothing. An error
	// means that it could not find out.
	CheckPolicy func(ctx context.Context, modules map[string]string) (Verdict, error)
	// AllowUnder answers as Allow would if the modules, which are admitted, were in force. It
	// keeps people from publishing a policy that locks them all out. nil does not look.
	AllowUnder func(ctx context.Context, modules map[string]string, q Question) (bool, error)
	// BuiltinPolicy are the modules in force while no policy is published.
	BuiltinPolicy map[string]string

	// Observe is told of each answer: the id of the operation, such as "listFeatures", or ""
	// for what is none, and the status. nil means nobody. It is called concurrently.
	Observe func(operation string, status int)

	Hosts   listen.Hosts // the Host headers that are answered; the zero value is loopback
	Log     *slog.Logger // failures and, at debug level, each request; nil means none
	Version string       // of the program, shown on the docs page
}

// api is the state of one app; it does not change after New.
type api struct {
	Config
	log  *slog.Logger
	huma huma.API
	seen map[string]bool // the routes that are registered
}

// New returns an app that serves /api, /openapi.json, /openapi.yaml and /docs. Listen with
// its Listener method; end it with ShutdownWithContext.
func New(cfg Config) *fiber.App {
	a := newAPI(cfg)
	app := fiber.New(fiber.Config{
		DisableStartupMessage:        true,
		Immutable:                    true, // strings outlive the handler: they go to services and logs
		CaseSensitive:                true,
		StrictRouting:                true,
		BodyLimit:                    maxBodyBytes,
		Concurrency:                  maxConns,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		ReadBufferSize:               maxHeaderBytes,
		DisablePreParseMultipartForm: true,
		ErrorHandler:                 a.connectionFailed,
	})
	app.Use(a.watch, a.headers, a.host, guard)
	a.routesOn(app)
	a.serveDocs(app)
	app.Server().Handler = a.knownMethods(app, app.Handler())
	app.Server().CloseOnShutdown = true
	return app
}

func newAPI(cfg Config) *api {
	a := &api{Config: cfg, log: cfg.Log, seen: map[string]bool{}}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.Observe == nil {
		a.Observe = func(string, int) {}
	}
	if a.WaitTime == 0 {
		a.WaitTime = DefaultWaitTime
	}
	return a
}

// routesOn registers all routes, and holds that each line of the table is served.
func (a *api) routesOn(app *fiber.App) {
	a.huma = newHuma(app)
	a.huma.UseMiddleware(a.enter)
	a.featureRoutes()
	a.tierRoutes()
	a.limitRoutes()
	a.policyRoutes()
	a.teamRoutes()
	a.userRoutes()
	for id := range routes {
		if !a.seen[id] {
			panic("tiergate: bug: route " + id + " is in the table and nobody serves it")
		}
	}
	describe(a.huma.OpenAPI())
}
