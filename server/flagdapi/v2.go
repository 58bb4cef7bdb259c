package flagdapi

import (
	"context"

	"google.golang.org/grpc"

	"github.com/tiergate/tiergate"
	wire "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v2"
)

// version2 is flagd.evaluation.v2: where there is no value, the caller's code default applies.
type version2 struct {
	wire.UnimplementedServiceServer
	*service
}

// optional returns what points to a value or variant of a decision, nil when it has none.
func optional[T any](a *answer, value T) *T {
	if a.Value == nil {
		return nil
	}
	return &value
}

func (s *version2) ResolveBoolean(ctx context.Context, req *wire.ResolveBooleanRequest) (*wire.ResolveBooleanResponse, error) {
	a, err := s.resolve(ctx, req.FlagKey, req.Context, tiergate.Boolean, true)
	if err != nil {
		return nil, err
	}
	return &wire.ResolveBooleanResponse{
		Value: optional(&a, a.bool()), Reason: string(a.Reason), Variant: optional(&a, a.Variant), Metadata: a.meta,
	}, nil
}

func (s *version2) ResolveString(ctx context.Context, req *wire.ResolveStringRequest) (*wire.ResolveStringResponse, error) {
	a, err := s.resolve(ctx, req.FlagKey, req.Context, tiergate.String, true)
	if err != nil {
		return nil, err
	}
	return &wire.ResolveStringResponse{
		Value: optional(&a, a.string()), Reason: string(a.Reason), Variant: optional(&a, a.Variant), Metadata: a.meta,
	}, nil
}

func (s *version2) ResolveFloat(ctx context.Context, req *wire.ResolveFloatRequest) (*wire.ResolveFloatResponse, error) {
	a, err := s.resolve(ctx, req.FlagKey, req.Context, tiergate.Number, true)
	if err != nil {
		return nil, err
	}
	return &wire.ResolveFloatResponse{
		Value: optional(&a, a.float()), Reason: string(a.Reason), Variant: optional(&a, a.Variant), Metadata: a.meta,
	}, nil
}

func (s *version2) ResolveInt(ctx context.Context, req *wire.ResolveIntRequest) (*wire.ResolveIntResponse, error) {
	a, err := s.resolve(ctx, req.FlagKey, req.Context, tiergate.Number, true)
	if err != nil {
		return nil, err
	}
	return &wire.ResolveIntResponse{
		Value: optional(&a, a.int()), Reason: string(a.Reason), Variant: optional(&a, a.Variant), Metadata: a.meta,
	}, nil
}

func (s *version2) ResolveObject(ctx context.Context, req *wire.ResolveObjectRequest) (*wire.ResolveObjectResponse, error) {
	a, err := s.resolve(ctx, req.FlagKey, req.Context, tiergate.Object, true)
	if err != nil {
		return nil, err
	}
	return &wire.ResolveObjectResponse{
		Value: a.object(), Reason: string(a.Reason), Variant: optional(&a, a.Variant), Metadata: a.meta,
	}, nil
}

func (s *version2) EventStream(_ *wire.EventStreamRequest, to grpc.ServerStreamingServer[wire.EventStreamResponse]) error {
	return s.follow(to)
}
