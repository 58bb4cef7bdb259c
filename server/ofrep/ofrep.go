package ofrep

import (
	"hash"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/server"
)

const (
	// MaxBodyBytes is the largest body that is read.
	MaxBodyBytes = server.MaxBodyBytes

	prefix     = "/ofrep/"
	bulkPath   = "/ofrep/v1/evaluate/flags"
	streamPath = "/ofrep/v1/sse" // as flagd has it; clients take it from an answer

	// A call that grew larger than this is not used again, so that one large request does
	// not hold memory for ever.
	maxPooledBytes = 64 << 10
)

// Config says what the door answers from. Only Evaluator is needed.
type Config struct {
	Evaluator tiergate.Evaluator
	// AsOf says what time the state in force is of; nil means that it is never stale. It is
	// asked for each request.
	AsOf func() time.Time
	// StaleAfter is the age from which answers say that they are stale; 0 means never.
	StaleAfter time.Duration
	// Credential finds a caller's API key; nil means that callers need none.
	Credential server.Resolver
	// Gate knows what is left of the limits of metered flags, and its Check waits for nobody;
	// nil tells of no limit in answers about one flag.
	Gate tiergate.Gate
	// Streams tells clients of changes; nil tells nobody of streams.
	Streams *Streams
	// Version is the program's; it is part of each entity tag, since another version may
	// answer otherwise from the same revision.
	Version string
	Now     func() time.Time // nil means time.Now
}

// New returns the door.
func New(cfg Config) server.Door {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &door{cfg: cfg, state: server.Revisions{Evaluator: cfg.Evaluator, AsOf: cfg.AsOf, StaleAfter: cfg.StaleAfter}}
	d.calls.New = func() any { return new(call) }
	return server.Door{Name: "ofrep", Prefix: prefix, Handle: d.handle, Refuse: refuse}
}

type door struct {
	cfg   Config
	state server.Revisions
	calls sync.Pool // of *call
}

// A call is all that one request needs, kept for the next. What it hands to a Generation
// is valid for this request only.
type call struct {
	parser  jsonvalue.Parser
	req     tiergate.Request
	scratch []byte // what an entity tag is made of

	asked *asked // what a gate is asked with; nil before the first metered flag

	streaming bool      // the answer tells of a stream …
	everyone  bool      // … of changes for anybody: a program that asks for many subjects follows one
	subject   []byte    // whom the stream is for, as its pass says it
	expires   int64     // when the pass expires, in seconds of Unix time
	signer    hash.Hash // of passes; nil before the first
	shared    sharedStream

	gen      tiergate.Generation
	resume   tiergate.Resume
	selected bool // the caller chose the flag set
	stale    bool
	meta     []byte // the members that the metadata of each answer begins with
	metaOf   state  // what meta says
	revision int    // where the revision ends in meta
}

// state is what the metadata of each answer tells.
type state struct {
	epoch string
	rev   int64
	stale bool
}

// handle answers one request: which resource, then what both kinds need, then the answer.
func (d *door) handle(ctx *fasthttp.RequestCtx) {
	name, single, ok := resource(ctx)
	switch {
	case !ok && d.cfg.Streams != nil && string(ctx.URI().PathOriginal()) == streamPath:
		d.stream(ctx)
		return
	case !ok:
		refuse(ctx, fasthttp.StatusNotFound, "there is no such resource")
		return
	case !ctx.IsPost():
		ctx.Response.Header.Set(fasthttp.HeaderAllow, fasthttp.MethodPost)
		refuse(ctx, fasthttp.StatusMethodNotAllowed, "flags are evaluated with POST")
		return
	}
	c := d.calls.Get().(*call)
	if d.prepare(ctx, c, name) {
		if single {
			d.single(ctx, c)
		} else {
			d.bulk(ctx, c)
		}
	}
	if len(ctx.Request.Body()) <= maxPooledBytes && cap(c.scratch) <= maxPooledBytes {
		c.req, c.gen = tiergate.Request{}, nil // the next request must find nothing of this one
		d.calls.Put(c)
	}
}

// refuse writes an error that is about no decision: a request that cannot be answered.
func refuse(ctx *fasthttp.RequestCtx, status int, detail string) {
	code := tiergate.General
	if status == fasthttp.StatusBadRequest {
		code = tiergate.ParseError
	}
	fail(ctx, status, code, detail)
}
