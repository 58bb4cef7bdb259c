//go:build !race

// The race detector makes pools forget at random, so that nothing can be said about allocations.

package decision_test

import (
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/tiergate/tiergate"
	tiergatev1 "github.com/tiergate/tiergate/internal/wire/tiergate/v1"
	"github.com/tiergate/tiergate/server/decision"
)

// deaf is the stream of a call whose headers go nowhere.
type deaf struct{}

func (deaf) Method() string               { return "" }
func (deaf) SetHeader(metadata.MD) error  { return nil }
func (deaf) SendHeader(metadata.MD) error { return nil }
func (deaf) SetTrailer(metadata.MD) error { return nil }

func decidedService() tiergatev1.DecisionServiceServer {
	v, _ := answers("consume", &tiergate.Use{Request: tiergate.Request{Flag: "exports"}})
	service, _ := rpcDoor(func(cfg *decision.Config) { cfg.Gate = &decided{v} })
	return service
}

// A call allocates its answer and nothing else: the message with its verdict, the limits, their
// list, and the id.
func TestRPC_allocations(t *testing.T) {
	service := decidedService()
	ctx := grpc.NewContextWithServerTransportStream(t.Context(), deaf{})
	plain := messageOf(t, benchBody, new(tiergatev1.ConsumeRequest))
	keyed := messageOf(t, benchKey, new(tiergatev1.ConsumeRequest))
	for name, tc := range map[string]struct {
		req  *tiergatev1.ConsumeRequest
		most float64
	}{
		"plain": {plain, 4}, "with a key, attributes and metadata": {keyed, 4},
	} {
		n := testing.AllocsPerRun(200, func() {
			if _, err := service.Consume(ctx, tc.req); err != nil {
				t.Error(err)
			}
		})
		if n > tc.most {
			t.Errorf("%s: %v allocations, want at most %v", name, n, tc.most)
		}
	}
}

// BenchmarkRPC measures what is between a decoded message and its answer.
func BenchmarkRPC(b *testing.B) {
	service := decidedService()
	ctx := grpc.NewContextWithServerTransportStream(b.Context(), deaf{})
	for name, body := range map[string]string{"consume": benchBody, "key": benchKey} {
		req := messageOf(b, body, new(tiergatev1.ConsumeRequest))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := service.Consume(ctx, req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
