//go:build !race

// The race detector makes pools forget at random, so that nothing can be said about allocations.

package flagdapi_test

import (
	"testing"

	"google.golang.org/grpc/metadata"

	wirev1 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	wirev2 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v2"
	"github.com/tiergate/tiergate/server/flagdapi"
)

// Between a decoded request and its answer nothing is allocated but the answer itself: with
// version 2 it points to its value and its variant.
func TestResolveBoolean_allocations(t *testing.T) {
	services := flagdapi.Services(flagdapi.Config{Watcher: engine(t)})
	v1, v2 := services[0].Impl.(wirev1.ServiceServer), services[1].Impl.(wirev2.ServiceServer)
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(":authority", "localhost", "content-type", "application/grpc", "user-agent", "grpc-go"))
	attributes := contextOf(t, map[string]any{"targetingKey": "alice", "country": "NZ"})
	for _, flag := range []string{"new-dashboard", "white-label", "beta-search"} {
		if n := testing.AllocsPerRun(1000, func() {
			if _, err := v1.ResolveBoolean(ctx, &wirev1.ResolveBooleanRequest{FlagKey: flag, Context: attributes}); err != nil {
				t.Error(err)
			}
		}); n > 2 { // the request, too
			t.Errorf("v1 of %s allocates %v times", flag, n)
		}
		if n := testing.AllocsPerRun(1000, func() {
			if _, err := v2.ResolveBoolean(ctx, &wirev2.ResolveBooleanRequest{FlagKey: flag, Context: attributes}); err != nil {
				t.Error(err)
			}
		}); n > 4 {
			t.Errorf("v2 of %s allocates %v times", flag, n)
		}
	}
}
