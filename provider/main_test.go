package provider_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/isolated"
	"go.uber.org/goleak"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/provider"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Of the sidecar that an example asks: these live on for a while, or as long as the program.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	)
}

// A fakeSource hands over what its test sends. While it is held it says nothing, and it is lost
// when it is told why.
type fakeSource struct {
	steps chan step
	lose  chan error

	mu   sync.Mutex
	held bool
	at   tiergate.Resume
}

// A step is a whole state, or changes on top of what there is.
type step struct {
	whole   bool
	changes []tiergate.Change
}

func newSource() *fakeSource {
	return &fakeSource{steps: make(chan step), lose: make(chan error)}
}

// hold makes the source say nothing, not even that there is nothing new.
func (s *fakeSource) hold(held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = held
}

func (s *fakeSource) Follow(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case st := <-s.steps:
			s.mu.Lock()
			s.at.Epoch, s.at.Rev = "fakefake-1", s.at.Rev+1
			at := s.at
			s.mu.Unlock()
			_ = f.Apply(ctx, tiergate.Revision{Resume: at, Whole: st.whole, Changes: tiergate.ChangesOf(st.changes...)})
			f.Confirm(time.Now())
		case err := <-s.lose:
			return err
		case <-tick.C:
			s.mu.Lock()
			quiet := s.held || s.at.Rev == 0
			s.mu.Unlock()
			if !quiet {
				f.Confirm(time.Now())
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// demo hands over the demo data, whenever somebody follows.
func (s *fakeSource) demo(more ...tiergate.Change) {
	s.steps <- step{whole: true, changes: append(conformance.Demo(), more...)}
}

// A fixed source holds one state.
type fixed []tiergate.Change

func (s fixed) Follow(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
	err := f.Apply(ctx, tiergate.Revision{
		Resume: tiergate.Resume{Epoch: "fixed", Rev: 1}, Whole: true, Changes: tiergate.ChangesOf(s...),
	})
	if err != nil {
		return err
	}
	f.Confirm(time.Now())
	<-ctx.Done()
	return ctx.Err()
}

// A hesitant source holds the demo data, and says only after a while that it is up to date.
type hesitant time.Duration

func (s hesitant) Follow(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
	err := f.Apply(ctx, tiergate.Revision{
		Resume: tiergate.Resume{Epoch: "hesitant", Rev: 1}, Whole: true, Changes: tiergate.ChangesOf(conformance.Demo()...),
	})
	if err != nil {
		return err
	}
	select {
	case <-time.After(time.Duration(s)):
		f.Confirm(time.Now())
		<-ctx.Done()
	case <-ctx.Done():
	}
	return ctx.Err()
}

// client is a client of the SDK over a provider, which is initialized, and shut down with the test.
func client(tb testing.TB, p openfeature.FeatureProvider) *openfeature.Client {
	tb.Helper()
	api := isolated.NewAPI()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	if err := api.SetProviderAndWait(ctx, p); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := api.Shutdown(ctx); err != nil {
			tb.Error(err)
		}
	})
	return api.NewClient()
}

// boolean is a flag that is on or off for everybody.
func boolean(name string, on bool) tiergate.Change {
	f := &tiergate.Flag{
		ID: name, Set: tiergate.DefaultSet, Name: name, Type: tiergate.Boolean, Enabled: true,
		Variants:       map[string]json.RawMessage{"on": json.RawMessage("true"), "off": json.RawMessage("false")},
		DefaultVariant: "on", OffVariant: "off", Rules: tiergate.Rules{Tiers: []string{}, Percentage: 100},
	}
	if !on {
		f.DefaultVariant = "off"
	}
	return tiergate.PutOf(f)
}

// onItsOwnClock runs a test in a bubble of synctest. What the policy engine pools has timers of the
// bubble then, which nobody else may touch: two collections empty the pool.
func onItsOwnClock(t *testing.T, test func(*testing.T)) {
	t.Helper()
	defer func() { runtime.GC(); runtime.GC() }()
	synctest.Test(t, test)
}

// await waits until a condition holds.
func await(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("after twenty seconds: not %s", what)
		}
	}
}

var errBroken = errors.New("connection refused")

var _ tiergate.Source = (*provider.Stream)(nil)
