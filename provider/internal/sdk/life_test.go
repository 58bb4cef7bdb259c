package sdk_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/isolated"

	"github.com/tiergate/tiergate/provider/internal/sdk"
)

// A script is the work of a Life that does what its test says.
type script struct{ steps chan func(*sdk.Work) }

func (s script) work(ctx context.Context, w *sdk.Work) {
	for {
		select {
		case step := <-s.steps:
			step(w)
		case <-ctx.Done():
			return
		}
	}
}

// newLife is a life whose work does what is sent to do, and ends with the test.
func newLife(t *testing.T) (*sdk.Life, func(func(*sdk.Work))) {
	s := script{make(chan func(*sdk.Work))}
	l := sdk.NewLife("scripted", 0, s.work)
	t.Cleanup(l.Shutdown)
	return l, func(step func(*sdk.Work)) {
		s.steps <- step
		synctest.Wait()
	}
}

// told drains the events that are told within a second.
func told(l *sdk.Life) []string {
	var all []string
	for {
		select {
		case e := <-l.EventChannel():
			all = append(all, string(e.EventType)+" "+e.Message)
		case <-time.After(time.Second):
			return all
		}
	}
}

func initialize(ctx context.Context, l *sdk.Life) <-chan error {
	done := make(chan error, 1)
	go func() { done <- l.InitWithContext(ctx, openfeature.EvaluationContext{}) }()
	synctest.Wait()
	return done
}

// The SDK tells of an initialization that succeeded by itself. What comes later is told as events,
// each state once.
func TestLife_tells_each_state_once(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, do := newLife(t)
		done := initialize(t.Context(), l)
		do(func(w *sdk.Work) { w.Ready("first") })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		got := told(l)
		then := func(step func(*sdk.Work)) {
			do(step)
			got = append(got, told(l)...)
		}
		then(func(w *sdk.Work) { w.Ready("still") })
		then(func(w *sdk.Work) { w.Stale(errors.New("away")) })
		then(func(w *sdk.Work) { w.Stale(errors.New("still away")) })
		then(func(w *sdk.Work) { w.Ready("back") })
		then(func(w *sdk.Work) { w.Stale(errors.New("away")) })
		then(func(w *sdk.Work) { w.Lost(errors.New("gone")) })
		then(func(w *sdk.Work) { w.Stale(errors.New("away")) })
		then(func(w *sdk.Work) { w.Ready("back again") })
		want := []string{
			"PROVIDER_STALE away", "PROVIDER_READY back", "PROVIDER_STALE away", "PROVIDER_ERROR gone", "PROVIDER_READY back again",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events mismatch (-want +got):\n%s", diff)
		}
	})
}

// An initialization that runs out of time says why, and the provider is ready later by itself.
func TestLife_recovers_from_an_initialization_that_ran_out_of_time(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, do := newLife(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		done := initialize(ctx, l)
		refused := errors.New("connection refused")
		do(func(w *sdk.Work) { w.Trouble(refused) })
		err := <-done
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, refused) {
			t.Fatalf("Init = %v", err)
		}
		do(func(w *sdk.Work) { w.Ready("at last") })
		if got := told(l); !slices.Equal(got, []string{"PROVIDER_READY at last"}) {
			t.Errorf("%q was told", got)
		}
	})
}

// A provider is a Life that can be evaluated.
type provider struct {
	*sdk.Life
	noop
}

type noop struct{ openfeature.NoopProvider }

// The SDK tells of an initialization by itself, and takes events through a channel: it must end in
// the state of the provider all the same.
func TestLife_the_SDK_ends_in_the_state_of_the_provider(t *testing.T) {
	inTime := func(do func(func(*sdk.Work))) {
		do(func(w *sdk.Work) { w.Ready("in time"); w.Stale(errors.New("and old already")) })
	}
	tooLate := func(do func(func(*sdk.Work))) {
		time.Sleep(time.Second) // the time of the initialization, to the nanosecond
		do(func(w *sdk.Work) { w.Ready("just after") })
	}
	for name, tc := range map[string]struct {
		steps func(func(func(*sdk.Work)))
		want  openfeature.State
	}{"stale_at_once": {inTime, openfeature.StaleState}, "ready_just_after_the_timeout": {tooLate, openfeature.ReadyState}} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				synctest.Test(t, func(t *testing.T) {
					l, do := newLife(t)
					api := isolated.NewAPI()
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					if err := api.SetProvider(ctx, &provider{Life: l}); err != nil {
						t.Fatal(err)
					}
					tc.steps(do)
					time.Sleep(time.Minute)
					if got := api.NewClient().State(); got != tc.want {
						t.Errorf("the SDK says %s, want %s", got, tc.want)
					}
					if err := api.Shutdown(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// Changes that nobody has taken yet are told as one, and never more often than twenty times a second.
func TestLife_tells_changes_together(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, do := newLife(t)
		done := initialize(t.Context(), l)
		do(func(w *sdk.Work) { w.Changed(sdk.Change{Flags: []string{"before"}}); w.Ready("first") })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		do(func(w *sdk.Work) {
			w.Changed(sdk.Change{Flags: []string{"b", "a"}, Revision: "e-1"})
			w.Changed(sdk.Change{Flags: []string{"b", "c"}, Revision: "e-2"})
			w.Changed(sdk.Change{Subjects: true, Revision: "e-3"})
		})
		e := <-l.EventChannel()
		want := openfeature.ProviderEventDetails{
			Message: "what is decided may have changed", FlagChanges: []string{"a", "b", "c"},
			EventMetadata: map[string]any{"all": false, "subjects": true, "revision": "e-3"},
		}
		if diff := cmp.Diff(want, e.ProviderEventDetails); e.EventType != openfeature.ProviderConfigChange || e.ProviderName != "scripted" || diff != "" {
			t.Errorf("%s mismatch (-want +got):\n%s", e.EventType, diff)
		}
		began := time.Now()
		for i := range 3 {
			do(func(w *sdk.Work) { w.Changed(sdk.Change{Flags: []string{"x"}, All: i == 2}) })
			e = <-l.EventChannel()
		}
		if e.FlagChanges != nil || e.EventMetadata["all"] != true {
			t.Errorf("when all may have changed it tells %+v", e)
		}
		if took := time.Since(began); took != 150*time.Millisecond {
			t.Errorf("three changes were told within %v", took)
		}
	})
}

// A provider that serves two domains is initialized twice and works once; it ends once, however
// often that is said, and can begin again.
func TestLife_begins_and_ends_as_often_as_it_is_told(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, do := newLife(t)
		if err := l.ShutdownWithContext(t.Context()); err != nil {
			t.Errorf("a shutdown before the beginning: %v", err)
		}
		for range 2 {
			first, second := initialize(t.Context(), l), initialize(t.Context(), l)
			do(func(w *sdk.Work) { w.Ready("first") })
			if err := errors.Join(<-first, <-second, <-initialize(t.Context(), l)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := l.ShutdownWithContext(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// A slow work takes two seconds to end. It is never done twice at a time.
type slow struct{ begun, working atomic.Int32 }

func (s *slow) work(ctx context.Context, w *sdk.Work) {
	s.begun.Add(1)
	if s.working.Add(1) > 1 {
		panic("two at a time")
	}
	w.Ready("at once")
	<-ctx.Done()
	time.Sleep(time.Second)
	w.Ready("still")
	time.Sleep(time.Second)
	w.Lost(errors.New("it ends"))
	s.working.Add(-1)
}

// end begins a shutdown.
func end(ctx context.Context, l *sdk.Life) <-chan error {
	done := make(chan error, 1)
	go func() { done <- l.ShutdownWithContext(ctx) }()
	synctest.Wait()
	return done
}

// A provider that is set again while it ends begins anew once it has ended, and nothing of the end
// is told of the new beginning.
func TestLife_begins_anew_while_it_ends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slow
		l := sdk.NewLife("slow", 0, s.work)
		if err := l.Init(openfeature.EvaluationContext{}); err != nil {
			t.Fatal(err)
		}
		began, ended := time.Now(), end(t.Context(), l)
		first, second := initialize(t.Context(), l), initialize(t.Context(), l)
		if err := errors.Join(<-first, <-second, <-ended); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 2*time.Second || s.begun.Load() != 2 || s.working.Load() != 1 {
			t.Errorf("after %v it has begun %d times, and %d work", took, s.begun.Load(), s.working.Load())
		}
		if got := told(l); got != nil {
			t.Errorf("%q was told", got)
		}
		l.Shutdown()
	})
}

// Nobody waits for the end before longer than their context allows; the provider is ready later.
func TestLife_waits_for_its_end_no_longer_than_it_may(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slow
		l := sdk.NewLife("slow", 0, s.work)
		if err := l.Init(openfeature.EvaluationContext{}); err != nil {
			t.Fatal(err)
		}
		ended := end(t.Context(), l)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.InitWithContext(ctx, openfeature.EvaluationContext{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Init = %v", err)
		}
		if e := <-l.EventChannel(); e.EventType != openfeature.ProviderReady {
			t.Errorf("%+v was told", e)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		l.Shutdown()
	})
}

// Who is told to end while it waits to begin anew does not begin.
func TestLife_Shutdown_while_it_waits_to_begin_anew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slow
		l := sdk.NewLife("slow", 0, s.work)
		if err := l.Init(openfeature.EvaluationContext{}); err != nil {
			t.Fatal(err)
		}
		first := end(t.Context(), l)
		again := initialize(t.Context(), l)
		second := end(t.Context(), l)
		if err := errors.Join(<-first, <-second); err != nil {
			t.Error(err)
		}
		if err := <-again; err == nil || s.begun.Load() != 1 || s.working.Load() != 0 {
			t.Errorf("Init = %v; it has begun %d times, and %d work", err, s.begun.Load(), s.working.Load())
		}
	})
}

// A shutdown while somebody waits for the beginning ends both, with a reason.
func TestLife_Shutdown_while_it_begins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := newLife(t)
		done := initialize(t.Context(), l)
		if err := l.ShutdownWithContext(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-done; err == nil {
			t.Error("the initialization succeeded")
		}
	})
}

// An end that takes longer than its context allows is an error, and the work is told how long it has.
func TestLife_Shutdown_is_bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Duration, 1)
		l := sdk.NewLife("slow", 0, func(ctx context.Context, w *sdk.Work) {
			w.Ready("at once")
			<-ctx.Done()
			began := time.Now()
			<-w.Closing().Done()
			ended <- time.Since(began)
			time.Sleep(time.Second)
		})
		if err := l.Init(openfeature.EvaluationContext{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := l.ShutdownWithContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v", err)
		}
		if got := <-ended; got != 3*time.Second {
			t.Errorf("the end had %v", got)
		}
		l.Shutdown()
	})
}

// The SDK ends a provider with the context of the call that sets the next one, and that is cancelled
// as soon as the next one is ready: the end has until the deadline all the same.
func TestLife_Shutdown_keeps_its_deadline_when_it_is_cancelled(t *testing.T) {
	for name, tc := range map[string]struct{ bound, want time.Duration }{
		"deadline": {3 * time.Second, 3 * time.Second}, "none": {0, sdk.DefaultShutdownTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan time.Duration, 1)
				l := sdk.NewLife("slow", 0, func(ctx context.Context, w *sdk.Work) {
					w.Ready("at once")
					<-ctx.Done()
					began := time.Now()
					<-w.Closing().Done()
					ended <- time.Since(began)
				})
				if err := l.Init(openfeature.EvaluationContext{}); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tc.bound > 0 {
					var release context.CancelFunc
					ctx, release = context.WithTimeout(ctx, tc.bound)
					defer release()
				}
				done := end(ctx, l)
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Errorf("Shutdown = %v", err)
				}
				if got := <-ended; got != tc.want {
					t.Errorf("the end had %v, want %v", got, tc.want)
				}
			})
		})
	}
}

// What can never work ends the initialization at once, and the SDK knows that it is for good.
func TestLife_broken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, do := newLife(t)
		done := initialize(t.Context(), l)
		why := errors.New("the key file is empty")
		do(func(w *sdk.Work) { w.Broken(why) })
		err := <-done
		if !errors.Is(err, why) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Init = %v", err)
		}
		if fatal, ok := errors.AsType[*openfeature.ProviderInitError](err); !ok || fatal.ErrorCode != openfeature.ProviderFatalCode {
			t.Errorf("to the SDK it is %+v", fatal)
		}
		if again := <-initialize(t.Context(), l); !errors.Is(again, why) {
			t.Errorf("a second Init = %v", again)
		}
	})
}

// What is found to be for good only after the initialization is told with an event, once.
func TestLife_broken_after_an_initialization_that_ran_out_of_time(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, do := newLife(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := <-initialize(ctx, l); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Init = %v", err)
		}
		do(func(w *sdk.Work) { w.Broken(errors.New("the key file is empty")) })
		do(func(w *sdk.Work) { w.Broken(errors.New("the key file is empty")) })
		e := <-l.EventChannel()
		if e.EventType != openfeature.ProviderError || e.ErrorCode != openfeature.ProviderFatalCode || e.Message != "the key file is empty" {
			t.Errorf("%+v was told", e)
		}
		if got := told(l); got != nil {
			t.Errorf("%q was told too", got)
		}
	})
}
