package flagdapi

import (
	"context"

	"google.golang.org/grpc"

	"github.com/tiergate/tiergate"
	wire "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	"github.com/tiergate/tiergate/server"
)

// version1 is flagd.evaluation.v1. It has no way to say that the code default applies, except
// of a disabled flag.
type version1 struct {
	wire.UnimplementedServiceServer
	*service
}

func (s *version1) ResolveBoolean(ctx context.Context, req *wire.ResolveBooleanRequest) (*wire.ResolveBooleanResponse, error) {
	a, err := s.resolve(ctx, req.FlagKey, req.Context, tiergate.Boolean, false)
	if err != nil {
		return nil, err
	}
	return &wire.ResolveBooleanResponse{Value: a.bool(), Reason: string(a.Reason), Variant: a.Variant, Metadata: a.meta}, nil
}

func (s *version1) ResolveString(ctx context.Context, req *wire.ResolveStringRequest) (*wire.ResolveStringResponse, error) {
	a, err := s.resolve(ctx, req.FlagKey, req.Context, tiergate.String, false)
	if err != nil {
		return nil, err
	}
	return &wire.ResolveStringResponse{Value: a.string(), Reason: string(a.Reason), Variant: a.Variant, Metadata: a.meta}, nil
}

func (s *version1) ResolveFloat(ctx context.Context, req *wire.ResolveFloatRequest) (*wire.ResolveFloatResponse, error) {
	a, err := s.resolve(ctx, req.FlagKey, req.Context, tiergate.Number, false)
	if err != nil {
		return nil, err
	}
	return &wire.ResolveFloatResponse{Value: a.float(), Reason: string(a.Reason), Variant: a.Variant, Metadata: a.meta}, nil
}

func (s *version1) ResolveInt(ctx context.Context, req *wire.ResolveIntRequest) (*wire.ResolveIntResponse, error) {
	a, err := s.resolve(ctx, req.FlagKey, req.Context, tiergate.Number, false)
	if err != nil {
		return nil, err
	}
	return &wire.ResolveIntResponse{Value: a.int(), Reason: string(a.Reason), Variant: a.Variant, Metadata: a.meta}, nil
}

func (s *version1) ResolveObject(ctx context.Context, req *wire.ResolveObjectRequest) (*wire.ResolveObjectResponse, error) {
	a, err := s.resolve(ctx, req.FlagKey, req.Context, tiergate.Object, false)
	if err != nil {
		return nil, err
	}
	return &wire.ResolveObjectResponse{Value: a.object(), Reason: string(a.Reason), Variant: a.Variant, Metadata: a.meta}, nil
}

// ResolveAll answers about all flags of a set but those of which it cannot say what they are:
// a client then finds no such flag, and the code default applies.
func (s *version1) ResolveAll(ctx context.Context, req *wire.ResolveAllRequest) (*wire.ResolveAllResponse, error) {
	c := s.calls.Get().(*call)
	defer s.release(c)
	if err := s.begin(ctx, c, req.Context); err != nil {
		return nil, err
	}
	flags := map[string]*wire.AnyFlag{}
	for d := range c.gen.All(&c.req) {
		if d.ErrorCode != "" || d.Value == nil && d.Reason != tiergate.ReasonDisabled {
			continue
		}
		flag := &wire.AnyFlag{Reason: string(d.Reason), Variant: d.Variant, Metadata: c.made.metadata(&d)}
		if d.Limit != nil {
			flag.Metadata = withLimit(flag.Metadata, &server.Left{FlagLimit: *d.Limit})
		}
		c.made.give(flag, &d)
		flags[d.Flag] = flag
	}
	return &wire.ResolveAllResponse{Flags: flags, Metadata: c.setMetadata()}, nil
}

// give gives a flag the value of a decision.
func (m *answers) give(flag *wire.AnyFlag, d *tiergate.Decision) {
	if d.Value == nil {
		return
	}
	switch d.Type {
	case tiergate.Boolean:
		flag.Value = &wire.AnyFlag_BoolValue{BoolValue: string(d.Value) == "true"}
	case tiergate.String:
		flag.Value = &wire.AnyFlag_StringValue{StringValue: textOf(d.Value)}
	case tiergate.Number:
		flag.Value = &wire.AnyFlag_DoubleValue{DoubleValue: floatOf(d.Value)}
	case tiergate.Object:
		flag.Value = &wire.AnyFlag_ObjectValue{ObjectValue: m.object(d.Value)}
	}
}

func (s *version1) EventStream(_ *wire.EventStreamRequest, to grpc.ServerStreamingServer[wire.EventStreamResponse]) error {
	return s.follow(to)
}
