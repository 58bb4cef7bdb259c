package decision

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/server"
)

const (
	prefix     = "/v1/"
	authPrefix = "/v1/auth/" // where proxies ask, and no bodies are read

	// slowest bounds what needs a look at the ledger, such as a reservation, so that the
	// answer is on its way before a client gives up.
	slowest = 5 * time.Second
	// helpers is how many items of batches are worked on at once, beyond one for each batch.
	helpers = 256
	// A call that grew larger than this is not used again, so that one large request does
	// not hold memory for ever.
	maxPooledBytes = 64 << 10
)

// Config says what the door answers from. Evaluator and Gate are needed.
type Config struct {
	// Evaluator says which revision is in force.
	Evaluator tiergate.Evaluator
	Gate      tiergate.Gate
	// Reservations and Gauges are behind their paths, which do not exist while they are nil.
	Reservations tiergate.Reservations
	Gauges       tiergate.Gauges

	// AsOf and StaleAfter say when answers are stale; see server.Revisions.
	AsOf       func() time.Time
	StaleAfter time.Duration
	// Credential finds a caller's API key, whatever its scopes: the door says which ones are
	// needed. nil means that callers need none.
	Credential server.Resolver
	Now        func() time.Time // nil means time.Now
	Log        *slog.Logger     // errors that callers are not told; nil means none
}

// New returns the door for HTTP.
func New(cfg Config) server.Door {
	d := newDoor(cfg)
	return server.Door{Name: "decision", Prefix: prefix, Bodiless: authPrefix, Handle: d.handle, Refuse: d.refuse}
}

func newDoor(cfg Config) *door {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	d := &door{
		cfg:     cfg,
		state:   server.Revisions{Evaluator: cfg.Evaluator, AsOf: cfg.AsOf, StaleAfter: cfg.StaleAfter},
		helpers: make(chan struct{}, helpers),
	}
	d.calls.New = func() any { return new(call) }
	return d
}

type door struct {
	cfg     Config
	state   server.Revisions
	calls   sync.Pool // of *call
	helpers chan struct{}
}

// A call is all that one request needs, kept for the next. What it hands to a Gate is valid
// for this request only.
type call struct {
	parser   jsonvalue.Parser
	arena    []byte // what uses point to that the body does not hold; it only grows during a call
	scratch  []byte // what a fingerprint is made of, and headers
	question question
	room     tiergate.Room // for the verdict about question
	batch    []item

	endpoint *endpoint
	kind     kind   // what is asked
	id       string // of the reservation that the path names
	key      *tiergate.Key
	now      time.Time
	stale    bool
	reflect  bool // the answer's status is the decision's
}

// forget drops what is of this request, and reports whether the call may be used again.
func (c *call) forget(bodyBytes int) bool {
	clear(c.batch)
	c.batch, c.arena, c.question, c.key, c.id = c.batch[:0], c.arena[:0], question{}, nil, ""
	return bodyBytes <= maxPooledBytes && cap(c.arena) <= maxPooledBytes && cap(c.scratch) <= maxPooledBytes
}

// handle answers one request: which resource, then what all of them need, then the answer.
func (d *door) handle(ctx *fasthttp.RequestCtx) {
	e, id, err := d.find(ctx)
	c := d.calls.Get().(*call)
	if err == nil {
		c.endpoint, c.kind, c.id = e, e.kind, id
		err = d.prepare(ctx, c, e)
	}
	if err == nil {
		err = e.serve(d, ctx, c)
	}
	if err != nil {
		d.fail(ctx, e, err)
	}
	if c.forget(len(ctx.Request.Body())) {
		d.calls.Put(c)
	}
}

// slow bounds the context of work that waits for the ledger.
func slow(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, slowest)
}

// setRevision says in a header which revision answered.
func (c *call) setRevision(ctx *fasthttp.RequestCtx, r *tiergate.Resume) {
	c.scratch = server.AppendRevision(c.scratch[:0], r)
	server.SetRevision(ctx, c.scratch)
}
