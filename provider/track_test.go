package provider_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/provider"
	"github.com/tiergate/tiergate/quota"
)

// What is tracked is recorded by the gate, and counted against the limit of its feature.
func TestInProcess_tracks_into_usage(t *testing.T) {
	ledger := new(quota.Memory)
	counting, err := quota.Open(quota.Options{Ledger: ledger, Reservations: ledger, Gauges: ledger, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := counting.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	engine := evaluator.New(evaluator.Options{})
	gate := evaluator.NewGate(engine, counting)
	p := provider.InProcess(fixed(conformance.Demo()), provider.Options{Engine: engine, Gate: gate})
	if err := p.Init(openfeature.EvaluationContext{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p.Track(t.Context(), "exports", openfeature.NewEvaluationContext("bob", nil), openfeature.NewTrackingEventDetails(3).Add("format", "csv"))
	}
	p.Shutdown()
	await(t, "counted", func() bool {
		v, err := gate.Check(t.Context(), &tiergate.Use{Request: tiergate.Request{Flag: "exports", UserID: "bob"}})
		return err == nil && len(v.Limits) == 1 && v.Limits[0].Min == 44
	})
	if p.LostEvents() != 0 {
		t.Errorf("lost %d", p.LostEvents())
	}
}

// A gate that records nothing, and what it refuses, is told to be lost, each with its reason.
func TestInProcess_tells_what_it_could_not_track(t *testing.T) {
	var mu sync.Mutex
	var lost []string
	options := provider.Options{TrackLost: func(_ int, why error) {
		mu.Lock()
		defer mu.Unlock()
		lost = append(lost, why.Error())
	}}
	track := func(o provider.Options, events ...string) {
		p := provider.InProcess(fixed(conformance.Demo()), o)
		if err := p.Init(openfeature.EvaluationContext{}); err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			p.Track(t.Context(), e, openfeature.NewEvaluationContext("bob", nil), openfeature.TrackingEventDetails{})
		}
		p.Shutdown()
	}
	track(options, "exports")
	options.Gate = refusing{}
	track(options, "bad", "unknown")
	want := []string{
		"this provider was not told where to record usage",
		`track "bad": the name is bad`, `track "unknown": it is not recorded: FLAG_NOT_FOUND`,
	}
	if diff := cmp.Diff(want, lost); diff != "" {
		t.Errorf("lost mismatch (-want +got):\n%s", diff)
	}
}

// Whatever is tracked while the provider works is recorded, after each beginning; in between it is
// told to be lost.
func TestInProcess_tracks_after_each_beginning(t *testing.T) {
	gate := new(recording)
	p := provider.InProcess(fixed(conformance.Demo()), provider.Options{Gate: gate})
	track := func() {
		p.Track(t.Context(), "exports", openfeature.NewEvaluationContext("bob", nil), openfeature.TrackingEventDetails{})
	}
	const times = 20
	for range times {
		if err := p.Init(openfeature.EvaluationContext{}); err != nil {
			t.Fatal(err)
		}
		track()
		p.Shutdown()
		track()
	}
	if n := gate.uses.Load(); n != times || p.LostEvents() != times {
		t.Errorf("recorded %d, lost %d, want %d of both", n, p.LostEvents(), times)
	}
}

// What is being recorded when the provider is shut down is given up by a gate that heeds its context;
// it is recorded in the time that the shutdown has, and nothing of it is told to be lost.
func TestInProcess_records_what_the_shutdown_interrupts(t *testing.T) {
	gate := &heeding{begun: make(chan struct{}), keys: map[string]bool{}}
	p := provider.InProcess(fixed(conformance.Demo()), provider.Options{Gate: gate})
	if err := p.Init(openfeature.EvaluationContext{}); err != nil {
		t.Fatal(err)
	}
	const events = 3
	for range events {
		p.Track(t.Context(), "exports", openfeature.NewEvaluationContext("bob", nil), openfeature.TrackingEventDetails{})
	}
	<-gate.begun
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := p.ShutdownWithContext(ctx); err != nil {
		t.Error(err)
	}
	if len(gate.keys) != events || p.LostEvents() != 0 {
		t.Errorf("of %d events %d are recorded, and %d lost", events, len(gate.keys), p.LostEvents())
	}
}

// A heeding gate records nothing before its context ends for the first time. What comes again has the
// same key.
type heeding struct {
	tiergate.Gate
	once  sync.Once
	begun chan struct{}
	ended atomic.Bool
	mu    sync.Mutex
	keys  map[string]bool
}

func (g *heeding) Track(ctx context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	g.once.Do(func() { close(g.begun) })
	if !g.ended.Load() {
		<-ctx.Done()
		g.ended.Store(true)
		return tiergate.Verdict{}, ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keys[u.IdempotencyKey] = true
	return tiergate.Verdict{Allow: true}, nil
}

// A recording gate counts what it is told.
type recording struct {
	tiergate.Gate
	uses atomic.Int64
}

func (g *recording) Track(context.Context, *tiergate.Use) (tiergate.Verdict, error) {
	g.uses.Add(1)
	return tiergate.Verdict{Allow: true}, nil
}

// A refusing gate records nothing.
type refusing struct{ tiergate.Gate }

func (refusing) Track(_ context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	if u.Flag == "bad" {
		return tiergate.Verdict{}, errors.New("the name is bad")
	}
	return tiergate.Verdict{Reason: tiergate.UseFlagNotFound}, nil
}
