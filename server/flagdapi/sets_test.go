package flagdapi_test

import (
	"context"
	"maps"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
	evaluationv1 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	evaluationv2 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v2"
	"github.com/tiergate/tiergate/server/flagdapi"
	"github.com/tiergate/tiergate/server/rpc"
)

// Over gRPC a selector, or the key, chooses the flag set: the one that every door chooses.
func TestConformance_of_flag_sets(t *testing.T) {
	e := evaluator.New(evaluator.Options{})
	err := e.Apply(t.Context(), tiergate.Revision{
		Resume: tiergate.Resume{Epoch: "0123456789abcdef", Rev: 7}, Whole: true, Changes: tiergate.ChangesOf(conformance.Sets()...),
	})
	if err != nil {
		t.Fatal(err)
	}
	services := flagdapi.Services(flagdapi.Config{Watcher: e})
	v1, v2 := services[0].Impl.(evaluationv1.ServiceServer), services[1].Impl.(evaluationv2.ServiceServer)
	as := func(ctx context.Context, c conformance.SetCase) context.Context {
		if s := c.Select(); s != "" {
			ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("flagd-selector", s))
		}
		if key := c.Key(); key != nil {
			ctx = rpc.WithKey(ctx, key)
		}
		return ctx
	}
	answer := func(t *testing.T, variant string, err error) conformance.SetAnswer {
		t.Helper()
		switch status.Code(err) {
		case codes.OK:
			return conformance.SetAnswer{Variant: variant}
		case codes.NotFound:
			return conformance.SetAnswer{ErrorCode: string(tiergate.FlagNotFound)}
		case codes.InvalidArgument:
			return conformance.SetAnswer{Refused: tiergate.Invalid}
		case codes.PermissionDenied:
			return conformance.SetAnswer{Refused: tiergate.Forbidden}
		}
		t.Fatal(err)
		return conformance.SetAnswer{}
	}
	t.Run("v1", func(t *testing.T) {
		conformance.RunSets(t, conformance.SetDoor{Selectors: true, Bulk: true}, func(t *testing.T, c conformance.SetCase) conformance.SetAnswer {
			ctx := as(t.Context(), c)
			one, err := v1.ResolveString(ctx, &evaluationv1.ResolveStringRequest{FlagKey: c.Flag})
			a := answer(t, one.GetVariant(), err)
			all, err := v1.ResolveAll(ctx, new(evaluationv1.ResolveAllRequest))
			if refused := answer(t, "", err).Refused; refused != a.Refused {
				t.Errorf("all flags: %v, and one: %+v", err, a)
			}
			a.All = slices.Sorted(maps.Keys(all.GetFlags()))
			return a
		})
	})
	t.Run("v2", func(t *testing.T) {
		conformance.RunSets(t, conformance.SetDoor{Selectors: true}, func(t *testing.T, c conformance.SetCase) conformance.SetAnswer {
			one, err := v2.ResolveString(as(t.Context(), c), &evaluationv2.ResolveStringRequest{FlagKey: c.Flag})
			return answer(t, one.GetVariant(), err)
		})
	})
}
