package decision

import (
	"context"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/structvalue"
	tiergatev1 "github.com/tiergate/tiergate/internal/wire/tiergate/v1"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/rpc"
)

// The names of the metadata that stands for the headers of HTTP.
const (
	revisionMetadata    = "tiergate-revision"
	minRevisionMetadata = "tiergate-min-revision"
)

// Service returns the door for gRPC, for a listener of server/rpc, which finds out who calls.
func Service(cfg Config) rpc.Service {
	return rpc.Service{
		Desc: &tiergatev1.DecisionService_ServiceDesc, Impl: NewService(cfg), Door: "decision-grpc", Credential: cfg.Credential, Strict: true,
	}
}

// NewService returns the methods of the door for gRPC: the same questions, rules and answers as
// over HTTP, in protobuf's messages. A caller's key is the one that rpc.KeyOf finds: cfg.Credential
// is not called, and says only whether callers need one.
func NewService(cfg Config) tiergatev1.DecisionServiceServer {
	s := &service{door: newDoor(cfg)}
	s.calls.New = func() any { return new(rpcCall) }
	return s
}

// A service reads messages as if they were the JSON bodies of the HTTP door, so that each rule is
// written once.
type service struct {
	tiergatev1.UnimplementedDecisionServiceServer // for methods of later versions
	door                                          *door
	calls                                         sync.Pool // of *rpcCall
	told                                          atomic.Pointer[told]
}

// An rpcCall is a call and what its question is made in. Strings of a message are not copied:
// they live as long as anybody holds them.
type rpcCall struct {
	call
	maker  structvalue.Maker
	form   form
	resume tiergate.Resume // the revision that answered
}

// told is a revision as callers are told it, made once for all that it answers.
type told struct {
	epoch    string
	rev      int64
	text     string
	metadata metadata.MD
}

// serve answers one call: what all of them need, then do, then the revision or the error.
func (s *service) serve(ctx context.Context, k kind, do func(c *rpcCall) error) error {
	c := s.calls.Get().(*rpcCall)
	c.kind = k
	err := s.prepare(ctx, c)
	if err == nil {
		err = do(c)
	}
	if err != nil {
		err = s.fail(ctx, k, err)
	} else {
		_ = grpc.SetHeader(ctx, s.telling(&c.resume).metadata) // without a stream there is nobody to tell
	}
	if c.forget(0) && c.maker.Bytes() <= maxPooledBytes {
		c.maker.Reset()
		c.form = form{}
		s.calls.Put(c)
	}
	return err
}

// prepare looks at what each call brings besides its question: its time, who asks, and which
// revision it demands.
func (s *service) prepare(ctx context.Context, c *rpcCall) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d := s.door
	gen := d.cfg.Evaluator.Generation()
	if gen == nil {
		return notLoaded()
	}
	if err := s.admit(ctx, c); err != nil {
		return err
	}
	if want := rpc.Sent(ctx, minRevisionMetadata); want != "" {
		later, err := d.state.AtLeast(ctx, want, gen)
		if err == nil && later != gen { // who may ask no longer now that it is there gets no answer
			if err = rpc.Recheck(ctx); err == nil {
				err = s.admit(ctx, c)
			}
		}
		if err != nil {
			return err
		}
	}
	c.now = d.cfg.Now()
	c.stale = d.state.Stale(c.now)
	return nil
}

// admit finds out who asks, and refuses a key without the scope.
func (s *service) admit(ctx context.Context, c *rpcCall) error {
	c.key = rpc.KeyOf(ctx)
	if s.door.cfg.Credential != nil && c.key == nil {
		return tiergate.Errorf(tiergate.Unauthorized, "an API key is needed")
	}
	return s.door.inScope(c.key, c.kind != check)
}

// telling returns how callers are told a revision.
func (s *service) telling(r *tiergate.Resume) *told {
	t := s.told.Load()
	if t == nil || t.rev != r.Rev || t.epoch != r.Epoch {
		text := string(server.AppendRevision(nil, r))
		t = &told{r.Epoch, r.Rev, text, metadata.Pairs(revisionMetadata, text)}
		s.told.Store(t)
	}
	return t
}

// newest is the revision in force.
func (s *service) newest() tiergate.Resume {
	return s.door.cfg.Evaluator.Generation().Resume()
}

// one answers one question, which has been put into the form.
func (s *service) one(ctx context.Context, c *rpcCall, to *tiergatev1.Verdict) error {
	if err := c.readForm(); err != nil {
		return err
	}
	c.question.use.Room = &c.room
	v, err := s.door.ask(ctx, c.kind, &c.question.use)
	if err != nil {
		return err
	}
	return s.answer(c, to, &v)
}

// Check answers as Consume would, and takes nothing.
func (s *service) Check(ctx context.Context, req *tiergatev1.CheckRequest) (*tiergatev1.CheckResponse, error) {
	a := new(struct {
		response tiergatev1.CheckResponse
		verdict  tiergatev1.Verdict
	})
	a.response.Verdict = &a.verdict
	err := s.serve(ctx, check, func(c *rpcCall) error {
		c.putCheck(req)
		return s.one(ctx, c, &a.verdict)
	})
	if err != nil {
		return nil, err
	}
	return &a.response, nil
}

// Consume takes the use when it is allowed; then its usage is recorded durably.
func (s *service) Consume(ctx context.Context, req *tiergatev1.ConsumeRequest) (*tiergatev1.ConsumeResponse, error) {
	a := new(struct {
		response tiergatev1.ConsumeResponse
		verdict  tiergatev1.Verdict
	})
	a.response.Verdict = &a.verdict
	err := s.serve(ctx, consume, func(c *rpcCall) error {
		c.putConsume(req)
		return s.one(ctx, c, &a.verdict)
	})
	if err != nil {
		return nil, err
	}
	return &a.response, nil
}

// Track records that a use has happened.
func (s *service) Track(ctx context.Context, req *tiergatev1.TrackRequest) (*tiergatev1.TrackResponse, error) {
	a := new(struct {
		response tiergatev1.TrackResponse
		verdict  tiergatev1.Verdict
	})
	a.response.Verdict = &a.verdict
	err := s.serve(ctx, track, func(c *rpcCall) error {
		c.putTrack(req)
		return s.one(ctx, c, &a.verdict)
	})
	if err != nil {
		return nil, err
	}
	return &a.response, nil
}

// BatchCheck checks each item on its own.
func (s *service) BatchCheck(ctx context.Context, req *tiergatev1.BatchCheckRequest) (*tiergatev1.BatchCheckResponse, error) {
	results, err := s.many(ctx, check, len(req.GetItems()), func(c *rpcCall, i int) { c.putCheck(req.Items[i]) })
	if err != nil {
		return nil, err
	}
	return &tiergatev1.BatchCheckResponse{Results: results}, nil
}

// BatchConsume takes each item on its own, those of one feature in their order.
func (s *service) BatchConsume(ctx context.Context, req *tiergatev1.BatchConsumeRequest) (*tiergatev1.BatchConsumeResponse, error) {
	results, err := s.many(ctx, consume, len(req.GetItems()), func(c *rpcCall, i int) { c.putConsume(req.Items[i]) })
	if err != nil {
		return nil, err
	}
	return &tiergatev1.BatchConsumeResponse{Results: results}, nil
}

// BatchTrack records each item on its own.
func (s *service) BatchTrack(ctx context.Context, req *tiergatev1.BatchTrackRequest) (*tiergatev1.BatchTrackResponse, error) {
	results, err := s.many(ctx, track, len(req.GetItems()), func(c *rpcCall, i int) { c.putTrack(req.Items[i]) })
	if err != nil {
		return nil, err
	}
	return &tiergatev1.BatchTrackResponse{Results: results}, nil
}

// many answers a batch of n questions, of which put puts one into the form.
func (s *service) many(ctx context.Context, k kind, n int, put func(c *rpcCall, i int)) (results []*tiergatev1.BatchResult, err error) {
	err = s.serve(ctx, k, func(c *rpcCall) error {
		err := s.door.askBatch(ctx, &c.call, n, func(i int) (tiergate.Value, error) {
			c.form = form{}
			put(c, i)
			return c.form.object(&c.maker)
		})
		if err != nil {
			return err
		}
		if results, err = s.results(ctx, c); err != nil {
			return err
		}
		c.resume = s.newest()
		return nil
	})
	return results, err
}
