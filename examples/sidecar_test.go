package examples_test

import (
	"context"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/demo"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/quota"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/decision"
)

// sidecar runs what answers the examples until the test ends, and returns its address: all that
// a sidecar has between its door and its usage log, with the demo data and a ledger in memory.
func sidecar(t *testing.T) (addr string) {
	t.Helper()
	engine := evaluator.New(evaluator.Options{})
	err := engine.Apply(t.Context(), tiergate.Revision{
		Resume: tiergate.Resume{Epoch: "0123456789abcdef", Rev: 7}, Whole: true, Changes: tiergate.ChangesOf(demo.Data()...),
	})
	if err != nil {
		t.Fatal(err)
	}
	ledger := new(quota.Memory)
	counter, err := quota.Open(quota.Options{Ledger: ledger, Reservations: ledger, Gauges: ledger, Dir: t.TempDir(), Patience: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	gate := evaluator.NewGate(engine, counter)
	door := decision.New(decision.Config{Evaluator: engine, Gate: gate, Reservations: gate, Gauges: gate})
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, server.NewApp(server.Config{}, door), ln, 5*time.Second) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		ending, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := counter.Close(ending); err != nil {
			t.Errorf("close the usage log: %v", err)
		}
	})
	return ln.Addr().String()
}
