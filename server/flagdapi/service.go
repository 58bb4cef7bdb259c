package flagdapi

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/structvalue"
	evaluationv1 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	evaluationv2 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v2"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/rpc"
)

// maxPooledBytes is how large a call may have become to be used again, so that one large
// request does not hold memory for ever.
const maxPooledBytes = 64 << 10

// Config says what the services answer from. Only Watcher is needed.
type Config struct {
	Watcher tiergate.Lister
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
	Now  func() time.Time // nil means time.Now
}

// Services returns both versions of flagd's evaluation protocol.
func Services(cfg Config) []rpc.Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &service{cfg: cfg, state: server.Revisions{Evaluator: cfg.Watcher, AsOf: cfg.AsOf, StaleAfter: cfg.StaleAfter}}
	s.known.watcher = cfg.Watcher
	s.calls.New = func() any { return new(call) }
	return []rpc.Service{
		{Desc: &evaluationv1.Service_ServiceDesc, Impl: &version1{service: s}, Door: "flagd", Credential: cfg.Credential},
		{Desc: &evaluationv2.Service_ServiceDesc, Impl: &version2{service: s}, Door: "flagd", Credential: cfg.Credential},
	}
}

// service is what both versions have in common.
type service struct {
	cfg   Config
	state server.Revisions
	calls sync.Pool               // of *call
	made  atomic.Pointer[answers] // what answers of the state in force have in common
	known known                   // the flags that streams may have to name
}

// A call is all that one request needs, kept for the next. What it hands to a Generation is
// valid for this request only.
type call struct {
	maker    structvalue.Maker
	req      tiergate.Request
	meter    server.Meter
	gen      tiergate.Generation
	selected bool // the caller chose the flag set
	made     *answers
}

// begin reads a request about an evaluation context. Its errors are statuses.
func (s *service) begin(ctx context.Context, c *call, attributes *structpb.Struct) error {
	c.gen = s.cfg.Watcher.Generation()
	if c.gen == nil {
		return status.Error(codes.Unavailable, "the flags have not been loaded yet")
	}
	if want := rpc.Sent(ctx, "tiergate-min-revision"); want != "" {
		gen, err := s.state.AtLeast(ctx, want, c.gen)
		if err == nil && gen != c.gen { // who may ask no longer now that it is there gets no answer
			err = rpc.Recheck(ctx)
		}
		if err != nil {
			return rpc.StatusOf(err)
		}
		c.gen = gen
	}
	c.req = tiergate.Request{Now: s.cfg.Now(), Key: rpc.KeyOf(ctx)}
	if err := s.choose(ctx, c); err != nil {
		return rpc.StatusOf(err)
	}
	c.made = s.answersOf(c.gen.Resume(), s.state.Stale(c.req.Now))
	return c.read(attributes)
}

// choose finds the flag set, as all doors do.
func (s *service) choose(ctx context.Context, c *call) error {
	named, err := server.Selected(rpc.Sent(ctx, "flagd-selector"))
	if err != nil {
		return err
	}
	c.selected = named != ""
	c.req.Set, err = server.SetFor(named, c.req.Key)
	if err == nil {
		s.known.asks(c.req.Set, c.gen)
	}
	return err
}

// read reads the context: a caller without one, and one without targetingKey, name no user.
func (c *call) read(attributes *structpb.Struct) error {
	c.maker.Reset()
	v, err := c.maker.Struct(attributes)
	if err != nil {
		return status.Error(codes.InvalidArgument, "context "+err.Error())
	}
	c.req.Attributes = v
	c.req.UserID, c.req.TeamID, err = server.Subject(v)
	return rpc.StatusOf(err)
}

func (s *service) release(c *call) {
	if c.maker.Bytes() <= maxPooledBytes {
		c.req, c.gen, c.made = tiergate.Request{}, nil, nil // the next request must find nothing of this one
		s.calls.Put(c)
	}
}

// An answer is a decision whose value, if there is one, is of the type that was asked for.
type answer struct {
	tiergate.Decision
	made *answers
	meta *structpb.Struct
}

// resolve answers about one flag. A protocol that cannot say that the caller's code default
// applies, codeDefault false, says instead that there is no such flag.
func (s *service) resolve(ctx context.Context, flag string, attributes *structpb.Struct, want tiergate.FlagType, codeDefault bool) (a answer, err error) {
	c := s.calls.Get().(*call)
	defer s.release(c)
	if err := s.begin(ctx, c, attributes); err != nil {
		return a, err
	}
	c.req.Flag = flag
	a.Decision, a.made = c.gen.Decide(&c.req), c.made
	switch {
	case a.ErrorCode != "":
		return a, failed(&a.Decision)
	case a.Value != nil && a.Type != want:
		return a, status.Errorf(codes.InvalidArgument, "the flag is of type %s, not %s", a.Type, want)
	case a.Value == nil && !codeDefault && a.Reason != tiergate.ReasonDisabled:
		return a, status.Error(codes.NotFound, "the flag has no default variant: the caller's code default applies")
	}
	a.meta = c.made.metadata(&a.Decision)
	if a.Metered {
		a.meta = withLimit(a.meta, c.meter.Left(s.cfg.Gate, &a.Decision, &c.req, c.made.of.resume))
	}
	return a, nil
}

var codeOf = map[tiergate.ErrorCode]codes.Code{
	tiergate.FlagNotFound:        codes.NotFound,
	tiergate.TypeMismatch:        codes.InvalidArgument,
	tiergate.InvalidContext:      codes.InvalidArgument,
	tiergate.TargetingKeyMissing: codes.InvalidArgument,
	tiergate.ParseError:          codes.DataLoss,
	tiergate.ProviderNotReady:    codes.Unavailable,
	tiergate.General:             codes.Unknown,
}

// failed is the status of a decision that is an error, by flagd's codes.
func failed(d *tiergate.Decision) error {
	code, ok := codeOf[d.ErrorCode]
	if !ok {
		code = codes.Unknown
	}
	return status.Error(code, d.ErrorDetails)
}
