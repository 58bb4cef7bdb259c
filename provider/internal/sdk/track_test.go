package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate/provider/internal/sdk"
)

// A log is where events are recorded; fail says what becomes of a batch.
type log struct {
	mu       sync.Mutex
	recorded []sdk.Tracked
	lost     []string
	fail     func(batch []sdk.Tracked) ([]error, error)
}

func (l *log) record(_ context.Context, batch []sdk.Tracked) ([]error, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		if errs, err := l.fail(batch); errs != nil || err != nil {
			return errs, err
		}
	}
	l.recorded = append(l.recorded, batch...)
	return nil, nil
}

func (l *log) lose(n int, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = append(l.lost, fmt.Sprint(n, " ", why))
}

// tracker runs until the function that it returns is called, with the time that the end may take.
func (l *log) tracker(t *testing.T, queue int) (*sdk.Tracker, func(time.Duration)) {
	tr := sdk.NewTracker(sdk.TrackConfig{Record: l.record, Set: "shop", Queue: queue, Lost: l.lose})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	closing := make(chan context.Context, 1)
	running.Go(func() { tr.Run(ctx, func() context.Context { return <-closing }) })
	return tr, func(d time.Duration) {
		last, done := context.WithTimeout(context.WithoutCancel(ctx), d)
		defer done()
		closing <- last
		cancel()
		running.Wait()
	}
}

func track(tr *sdk.Tracker, name string, details openfeature.TrackingEventDetails) {
	tr.Track(context.Background(), name, openfeature.NewEvaluationContext("alice", map[string]any{"teamId": "acme", "age": 33}), details)
}

// An event becomes a use of its user and team; a whole value is its cost, another one is kept beside its attributes.
func TestTracker_what_an_event_becomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		tr, end := l.tracker(t, 0)
		track(tr, "plain", openfeature.TrackingEventDetails{})
		track(tr, "zero", openfeature.NewTrackingEventDetails(0))
		track(tr, "units", openfeature.NewTrackingEventDetails(3).Add("size", "large"))
		track(tr, "price", openfeature.NewTrackingEventDetails(9.75).Add("currency", "EUR"))
		track(tr, "negative", openfeature.NewTrackingEventDetails(-2))
		end(time.Second)
		event := func(name, metadata string, cost int64) sdk.Tracked {
			e := sdk.Tracked{Feature: name, Set: "shop", Subject: sdk.Subject{User: "alice", Team: "acme"}, Cost: cost, At: time.Now().UTC()}
			if metadata != "" {
				e.Metadata = []byte(metadata)
			}
			return e
		}
		want := []sdk.Tracked{
			event("plain", "", 0), event("zero", "", 0), event("units", `{"size":"large"}`, 3),
			event("price", `{"currency":"EUR","value":9.75}`, 0), event("negative", `{"value":-2}`, 0),
		}
		keys := map[string]bool{}
		for i := range l.recorded {
			keys[l.recorded[i].IdempotencyKey] = true
			if text := string(l.recorded[i].Metadata); text == `{"value":9.75,"currency":"EUR"}` {
				l.recorded[i].Metadata = want[3].Metadata // members have no order
			}
			if n := len(l.recorded[i].Attributes); n != len(`{"targetingKey":"alice","teamId":"acme","age":33}`) {
				t.Errorf("attributes are %s", l.recorded[i].Attributes)
			}
		}
		if diff := cmp.Diff(want, l.recorded, cmpopts.IgnoreFields(sdk.Tracked{}, "IdempotencyKey", "Attributes")); diff != "" {
			t.Errorf("recorded mismatch (-want +got):\n%s", diff)
		}
		if len(keys) != len(want) || l.lost != nil || tr.LostEvents() != 0 {
			t.Errorf("%d keys, lost %q", len(keys), l.lost)
		}
	})
}

// While nobody records, events wait and come again under the same keys, ever less often.
func TestTracker_repeats_what_may_not_have_arrived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		attempts, keys := 0, map[string]bool{}
		l.fail = func(batch []sdk.Tracked) ([]error, error) {
			attempts++
			for _, e := range batch {
				keys[e.IdempotencyKey] = true
			}
			if attempts < 8 {
				return nil, fmt.Errorf("%w: refused", sdk.ErrAway)
			}
			return nil, nil
		}
		tr, end := l.tracker(t, 0)
		for range 3 {
			track(tr, "x", openfeature.TrackingEventDetails{})
		}
		time.Sleep(5 * time.Second)
		l.mu.Lock()
		if attempts < 4 || attempts > 7 {
			t.Errorf("%d attempts in five seconds", attempts)
		}
		l.mu.Unlock()
		time.Sleep(time.Minute)
		end(time.Second)
		if len(l.recorded) != 3 || len(keys) != 3 || l.lost != nil {
			t.Errorf("%d recorded, %d keys, lost %q", len(l.recorded), len(keys), l.lost)
		}
	})
}

// Whatever happens, each event is recorded or told to be lost: offered is the sum of the two.
func TestTracker_tells_what_is_lost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		l.fail = func(batch []sdk.Tracked) ([]error, error) { return nil, sdk.ErrAway }
		tr, end := l.tracker(t, 150)
		for range 160 {
			track(tr, "x", openfeature.TrackingEventDetails{})
		}
		tr.Track(t.Context(), "bad", openfeature.NewTargetlessEvaluationContext(map[string]any{"teamId": 7}), openfeature.TrackingEventDetails{})
		l.mu.Lock()
		if tr.LostEvents() != 11 || len(l.lost) != 11 || !strings.Contains(l.lost[0], "150 events are waiting already") ||
			!strings.Contains(l.lost[10], "teamId is not a string") {
			t.Errorf("lost %d: %q", tr.LostEvents(), l.lost)
		}
		l.mu.Unlock()
		time.Sleep(time.Minute)
		l.mu.Lock()
		l.fail = func(batch []sdk.Tracked) ([]error, error) {
			if len(batch) == sdk.MaxTrackBatch {
				return nil, errors.New("401")
			}
			errs := make([]error, len(batch))
			errs[1] = errors.New("no such feature")
			l.recorded = append(l.recorded, batch[0])
			l.recorded = append(l.recorded, batch[2:]...)
			return errs, nil
		}
		l.lost = nil
		l.mu.Unlock()
		time.Sleep(time.Minute)
		end(time.Second)
		if len(l.recorded) != 49 || len(l.lost) != 2 || tr.LostEvents() != 11+100+1 {
			t.Errorf("recorded %d, lost %d: %q", len(l.recorded), tr.LostEvents(), l.lost)
		}
	})
}

// At the end what waits is recorded; what cannot be within the time is lost, and said so.
func TestTracker_end(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		tr, end := l.tracker(t, 0)
		for range 250 {
			track(tr, "x", openfeature.TrackingEventDetails{})
		}
		end(time.Second)
		if len(l.recorded) != 250 {
			t.Errorf("recorded %d", len(l.recorded))
		}
		l.fail = func([]sdk.Tracked) ([]error, error) { return nil, sdk.ErrAway }
		tr, end = l.tracker(t, 0)
		for range 50 {
			track(tr, "x", openfeature.TrackingEventDetails{})
		}
		began := time.Now()
		end(3 * time.Second)
		if took := time.Since(began); took > 3*time.Second || tr.LostEvents() != 50 || len(l.lost) != 1 || !strings.HasPrefix(l.lost[0], "50 ") {
			t.Errorf("after %v lost %d: %q", took, tr.LostEvents(), l.lost)
		}
	})
}

// Without a place to record, each event is told to be lost.
func TestTracker_without_a_place(t *testing.T) {
	l := &log{}
	tr := sdk.NewTracker(sdk.TrackConfig{Lost: l.lose})
	track(tr, "x", openfeature.TrackingEventDetails{})
	if tr.LostEvents() != 1 || len(l.lost) != 1 {
		t.Errorf("lost %d: %q", tr.LostEvents(), l.lost)
	}
}
