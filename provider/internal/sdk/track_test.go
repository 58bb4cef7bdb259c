package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	return tr, run(t, tr)
}

func run(t *testing.T, tr *sdk.Tracker) (end func(time.Duration)) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	closing := make(chan context.Context, 1)
	running.Go(func() { tr.Run(ctx, func() context.Context { return <-closing }) })
	return func(d time.Duration) {
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

// However large events are, they wait in bounded memory: one that could never be recorded is lost
// at once, and so are those that find no room left. When there is room again, they wait again.
func TestTracker_bounds_the_bytes_that_wait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{fail: func([]sdk.Tracked) ([]error, error) { return nil, sdk.ErrAway }}
		tr, end := l.tracker(t, 0)
		text := strings.Repeat("x", sdk.MaxTrackEvent)
		large := openfeature.NewTargetlessEvaluationContext(map[string]any{"text": text})
		fits := openfeature.NewTargetlessEvaluationContext(map[string]any{"text": text[:sdk.MaxTrackEvent-1000]})
		tr.Track(t.Context(), "x", large, openfeature.TrackingEventDetails{})
		tr.Track(t.Context(), "x", openfeature.EvaluationContext{}, openfeature.NewTrackingEventDetails(1).Add("text", text))
		l.mu.Lock()
		if len(l.lost) != 2 || !strings.Contains(l.lost[0], "too large") || !strings.Contains(l.lost[1], "too large") {
			t.Errorf("lost %.200q", l.lost)
		}
		l.mu.Unlock()
		const room = sdk.MaxTrackBytes / sdk.MaxTrackEvent
		for range room + 3 {
			tr.Track(t.Context(), "x", fits, openfeature.TrackingEventDetails{})
			time.Sleep(time.Second) // some of the time they are being recorded
		}
		l.mu.Lock()
		if n := tr.LostEvents(); n != 2+3 || !strings.Contains(l.lost[len(l.lost)-1], "bytes are waiting already") {
			t.Errorf("lost %d: %.200q", n, l.lost)
		}
		recorded := 0
		l.fail = func(batch []sdk.Tracked) ([]error, error) {
			recorded += len(batch)
			return make([]error, len(batch)), nil
		}
		l.mu.Unlock()
		time.Sleep(time.Minute)
		for range room {
			tr.Track(t.Context(), "x", fits, openfeature.TrackingEventDetails{})
		}
		end(time.Second)
		if tr.LostEvents() != 2+3 || recorded != 2*room {
			t.Errorf("recorded %d, lost %d: %.200q", recorded, tr.LostEvents(), l.lost)
		}
	})
}

// What has been recorded is not held on to.
func TestTracker_forgets_what_is_recorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events, size = 50, 500_000
		var recorded atomic.Int64
		tr := sdk.NewTracker(sdk.TrackConfig{Record: func(_ context.Context, batch []sdk.Tracked) ([]error, error) {
			recorded.Add(int64(len(batch)))
			return nil, nil
		}})
		end := run(t, tr)
		before := heap()
		c := openfeature.NewTargetlessEvaluationContext(map[string]any{"text": strings.Repeat("x", size)})
		for range events {
			tr.Track(t.Context(), "x", c, openfeature.TrackingEventDetails{})
		}
		time.Sleep(time.Minute)
		if grown := heap() - before; recorded.Load() != events || grown > events*size/4 {
			t.Errorf("after %d events of %d bytes the heap has grown by %d", recorded.Load(), size, grown)
		}
		end(time.Second)
	})
}

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what is pooled goes the second time
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
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

// What is tracked after the end is told to be lost; once tracking is opened anew it is recorded.
func TestTracker_after_its_end(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		tr, end := l.tracker(t, 0)
		end(time.Second)
		track(tr, "late", openfeature.TrackingEventDetails{})
		if want := []string{`1 track "late": the provider was shut down`}; !slices.Equal(l.lost, want) || tr.LostEvents() != 1 {
			t.Errorf("lost %d: %q, want %q", tr.LostEvents(), l.lost, want)
		}
		tr.Open()
		track(tr, "early", openfeature.TrackingEventDetails{})
		end = run(t, tr)
		track(tr, "then", openfeature.TrackingEventDetails{})
		end(time.Second)
		if len(l.recorded) != 2 || tr.LostEvents() != 1 {
			t.Errorf("recorded %v, lost %q", l.recorded, l.lost)
		}
	})
}

// However tracking and the end meet, each event is recorded or told to be lost.
func TestTracker_end_while_events_are_tracked(t *testing.T) {
	for range 20 {
		l := &log{}
		tr, end := l.tracker(t, 0)
		var tracking sync.WaitGroup
		for range 4 {
			tracking.Go(func() {
				for range 100 {
					track(tr, "x", openfeature.TrackingEventDetails{})
				}
			})
		}
		end(time.Minute)
		tracking.Wait()
		if n := len(l.recorded) + int(tr.LostEvents()); n != 400 || (len(l.lost) > 0) != (tr.LostEvents() > 0) {
			t.Errorf("of 400 events %d are recorded and %d lost", len(l.recorded), tr.LostEvents())
		}
	}
}

// A counting handler adds up how many events the log tells to be lost.
type counting struct {
	slog.Handler
	lines, events atomic.Int64
}

func (c *counting) Enabled(context.Context, slog.Level) bool { return true }

func (c *counting) Handle(_ context.Context, r slog.Record) error {
	c.lines.Add(1)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "events" {
			c.events.Add(a.Value.Int64())
		}
		return true
	})
	return nil
}

// The log tells of all that is lost, in a line for many, within two seconds and before the end:
// with and without a place to record, and while one that is away is tried again.
func TestTracker_logs_all_that_is_lost(t *testing.T) {
	for name, record := range map[string]func(context.Context, []sdk.Tracked) ([]error, error){
		"nowhere": nil,
		"away":    func(context.Context, []sdk.Tracked) ([]error, error) { return nil, sdk.ErrAway },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := new(counting)
				tr := sdk.NewTracker(sdk.TrackConfig{Record: record, Queue: 1, Log: slog.New(c)})
				end := run(t, tr)
				for range 100 {
					track(tr, "x", openfeature.TrackingEventDetails{})
				}
				time.Sleep(2 * time.Second)
				if lost := int64(tr.LostEvents()); lost < 99 || c.events.Load() != lost || c.lines.Load() != 2 {
					t.Errorf("%d are lost, and %d lines tell of %d", lost, c.lines.Load(), c.events.Load())
				}
				for range 100 {
					track(tr, "x", openfeature.TrackingEventDetails{})
				}
				end(time.Second)
				if lost := int64(tr.LostEvents()); lost != 200 || c.events.Load() != lost {
					t.Errorf("at the end %d are lost, and the log tells of %d", lost, c.events.Load())
				}
			})
		})
	}
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

// Of a batch of which some is recorded the rest alone comes again, and only that is told to be lost
// when the time of the end is over.
func TestTracker_some_of_a_batch_comes_again(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := map[string]int{}
		l := &log{fail: func(batch []sdk.Tracked) ([]error, error) {
			errs := make([]error, len(batch))
			for i, e := range batch {
				if tries[e.Feature]++; e.Feature == "later" && tries[e.Feature] < 3 || e.Feature == "never" {
					errs[i] = fmt.Errorf("%w: not yet", sdk.ErrAway)
				}
			}
			return errs, nil
		}}
		tr, end := l.tracker(t, 0)
		for _, feature := range []string{"now", "later", "never", "now"} {
			tr.Track(t.Context(), feature, openfeature.NewEvaluationContext("bob", nil), openfeature.TrackingEventDetails{})
		}
		time.Sleep(time.Minute)
		end(time.Second)
		if tries["now"] != 2 || tries["later"] != 3 || tries["never"] < 4 {
			t.Errorf("tried %v", tries)
		}
		if len(l.lost) != 1 || !strings.HasPrefix(l.lost[0], "1 ") || tr.LostEvents() != 1 {
			t.Errorf("lost %q", l.lost)
		}
	})
}
