package sdk

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/backoff"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

const (
	// DefaultTrackQueue is how many tracked events wait at most.
	DefaultTrackQueue = 10_000
	// MaxTrackBatch is how many are recorded at once, a sidecar's bound.
	MaxTrackBatch = 100
	// MaxTrackEvent is how many bytes an event has at most, its context and metadata included.
	// More than a sidecar reads in one message could never be recorded.
	MaxTrackEvent = 900_000
	// MaxTrackBytes is how many bytes of events wait at most, however few events that is.
	MaxTrackBytes = 64 << 20

	trackFixed   = 256                    // bytes of an event beside its texts
	trackEvery   = time.Second            // how long an event waits for others
	trackFirst   = 100 * time.Millisecond // the waits between attempts, from …
	trackLongest = 5 * time.Second        // … to this
	sayEvery     = time.Second            // how often it is logged that events are lost
)

// A Tracked event is a use that has happened, as the decision API has it.
type Tracked struct {
	Feature        string          `json:"feature"`
	Subject        Subject         `json:"subject"`
	Attributes     json.RawMessage `json:"attributes,omitempty"`
	Set            string          `json:"set,omitempty"`
	Cost           int64           `json:"cost,omitempty"`
	IdempotencyKey string          `json:"idempotencyKey"`
	Metadata       json.RawMessage `json:"metadata,omitempty"`
	At             time.Time       `json:"at"`
}

// A Subject is who used it.
type Subject struct {
	User string `json:"user,omitempty"`
	Team string `json:"team,omitempty"`
}

// ErrAway is wrapped by the error of events that may be recorded later.
var ErrAway = errors.New("nobody records usage now")

// TrackConfig says where tracked events go.
type TrackConfig struct {
	// Record records up to MaxTrackBatch events and returns an error for each that it did not
	// record, in their order; or an error of all. Those whose error wraps ErrAway are tried again,
	// others never. An event that comes again has the same IdempotencyKey. Nil records nothing.
	Record func(ctx context.Context, batch []Tracked) ([]error, error)
	Set    string
	Queue  int // how many events wait at most, and no more than MaxTrackBytes of them; 0 is DefaultTrackQueue
	// Lost is told of events that are not recorded and never will be, and why; nil tells nobody.
	Lost func(events int, why error)
	Log  *slog.Logger
}

// A Tracker keeps what is tracked until it is recorded. Nothing is dropped silently: what cannot
// be recorded is told to Lost, is logged, and counts in LostEvents. Safe for concurrent use.
type Tracker struct {
	cfg    TrackConfig
	prefix string // of idempotency keys, of this Tracker alone
	count  atomic.Uint64
	lost   atomic.Uint64
	full   chan struct{} // holds one when a batch is waiting

	mu      sync.Mutex
	ended   bool // nobody will take what waits
	waiting []Tracked
	taken   int       // events that are being recorded
	bytes   int       // of those that wait and those that are being recorded
	said    time.Time // when it was last logged that events are lost …
	unsaid  int       // … how many were since …
	why     error     // … and why the last of them was
}

var errEnded = errors.New("the provider was shut down")

// NewTracker makes a Tracker that records while Run runs.
func NewTracker(cfg TrackConfig) *Tracker {
	if cfg.Queue <= 0 {
		cfg.Queue = DefaultTrackQueue
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	var random [12]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	return &Tracker{cfg: cfg, prefix: "of-" + hex.EncodeToString(random[:]) + "-", full: make(chan struct{}, 1)}
}

// LostEvents is how many events were not recorded and never will be.
func (t *Tracker) LostEvents() uint64 { return t.lost.Load() }

// Track takes an event; it waits for nobody. It implements the SDK's Tracker.
func (t *Tracker) Track(_ context.Context, name string, c openfeature.EvaluationContext, details openfeature.TrackingEventDetails) {
	if t.cfg.Record == nil {
		t.lose(1, errors.New("this provider was not told where to record usage"))
		return
	}
	e, err := t.eventOf(name, c, details)
	if err != nil {
		t.lose(1, fmt.Errorf("track %q: %w", name, err))
		return
	}
	full, err := t.put(&e)
	if err != nil {
		t.lose(1, fmt.Errorf("track %q: %w", name, err))
	}
	if full {
		select {
		case t.full <- struct{}{}:
		default:
		}
	}
}

// put lets an event wait, if there is room and somebody will take it, and reports whether there are
// enough for a batch.
func (t *Tracker) put(e *Tracked) (full bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ended:
		err = errEnded
	case len(t.waiting)+t.taken >= t.cfg.Queue:
		err = fmt.Errorf("%d events are waiting already", t.cfg.Queue)
	case t.bytes+e.size() > MaxTrackBytes:
		err = fmt.Errorf("events of %d bytes are waiting already", t.bytes)
	default:
		t.waiting = append(t.waiting, *e)
		t.bytes += e.size()
	}
	return len(t.waiting) >= MaxTrackBatch, err
}

// size is how many bytes an event holds, more or less.
func (e *Tracked) size() int {
	return trackFixed + len(e.Feature) + len(e.Subject.User) + len(e.Subject.Team) + len(e.Attributes) + len(e.Metadata)
}

func sizeOf(events []Tracked) int {
	n := 0
	for i := range events {
		n += events[i].size()
	}
	return n
}

// eventOf makes an event of what the SDK says: a whole value from 1 on is the cost, any other but
// 0 goes into the metadata beside the event's attributes.
func (t *Tracker) eventOf(name string, c openfeature.EvaluationContext, details openfeature.TrackingEventDetails) (Tracked, error) {
	read := NewContext()
	defer read.Release()
	flat := openfeature.FlattenedContext(c.Attributes())
	if c.TargetingKey() != "" {
		flat[openfeature.TargetingKey] = c.TargetingKey()
	}
	if err := read.Read(flat); err != nil {
		return Tracked{}, err
	}
	e := Tracked{
		Feature: name, Set: t.cfg.Set, Subject: Subject{User: read.UserID, Team: read.TeamID}, At: time.Now().UTC(),
		IdempotencyKey: t.prefix + strconv.FormatUint(t.count.Add(1), 10),
	}
	if read.Attributes.Len() > 0 {
		e.Attributes = jsonvalue.Append(nil, read.Attributes)
	}
	about := details.Attributes()
	switch v := details.Value(); {
	case v >= 1 && v <= float64(tiergate.MaxAmount) && v == math.Trunc(v):
		e.Cost = int64(v)
	case v != 0:
		about["value"] = v
	}
	if len(about) > 0 {
		if err := read.Read(about); err != nil {
			return Tracked{}, err
		}
		e.Metadata = jsonvalue.Append(nil, read.Attributes)
	}
	if e.size() > MaxTrackEvent {
		return Tracked{}, fmt.Errorf("the event is too large: it has %d bytes, and may have %d", e.size(), MaxTrackEvent)
	}
	return e, nil
}

// lose tells that events are not recorded.
func (t *Tracker) lose(events int, why error) {
	t.lost.Add(uint64(events))
	t.mu.Lock()
	t.unsaid, t.why = t.unsaid+events, why
	t.mu.Unlock()
	t.say(sayEvery)
	if t.cfg.Lost != nil {
		t.cfg.Lost(events, why)
	}
}

// say logs how many events were lost since that was last logged, if that is long enough ago.
func (t *Tracker) say(apart time.Duration) {
	t.mu.Lock()
	now, events, why := time.Now(), t.unsaid, t.why
	if events == 0 || now.Sub(t.said) < apart {
		t.mu.Unlock()
		return
	}
	t.said, t.unsaid = now, 0
	t.mu.Unlock()
	t.cfg.Log.Error("tracked events are lost", "events", events, "inAll", t.lost.Load(), "error", why)
}

// Open lets events wait once more, after a Run that has ended. Run does so by itself, which is too
// late for whoever is told before it that the provider is ready.
func (t *Tracker) Open() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = false
}

// end lets no event wait any more and reports true, if none does; or if ctx has ended: then those
// that wait are lost.
func (t *Tracker) end(ctx context.Context) bool {
	t.mu.Lock()
	left := len(t.waiting)
	if left > 0 && ctx.Err() == nil {
		t.mu.Unlock()
		return false
	}
	t.ended, t.waiting, t.bytes = true, nil, 0
	t.mu.Unlock()
	if left > 0 {
		t.lose(left, fmt.Errorf("%w: %w", errEnded, context.Cause(ctx)))
	}
	t.say(0)
	return true
}

// Run records until ctx ends. Then it records what waits for as long as closing allows; what is
// left is lost, and so is what is tracked afterwards.
func (t *Tracker) Run(ctx context.Context, closing func() context.Context) {
	t.Open()
	tick := time.NewTicker(trackEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-t.full:
		case <-tick.C:
		}
		t.flush(ctx)
		t.say(sayEvery)
	}
	for last := closing(); !t.end(last); {
		t.flush(last)
	}
}

// flush records all that waits, or gives up when ctx ends.
func (t *Tracker) flush(ctx context.Context) {
	wait := backoff.Backoff{First: trackFirst, Most: trackLongest}
	for ctx.Err() == nil {
		batch := t.take(MaxTrackBatch)
		if len(batch) == 0 {
			return
		}
		if t.record(ctx, batch) {
			wait.Reset()
			continue
		}
		t.say(sayEvery)
		backoff.Sleep(ctx, wait.Next())
	}
}

// record records a batch, and reports false when some of it is to be tried again.
func (t *Tracker) record(ctx context.Context, batch []Tracked) bool {
	errs, err := t.cfg.Record(ctx, batch)
	away := errors.Is(err, ErrAway) || err != nil && ctx.Err() != nil
	var again []Tracked
	for i := range batch {
		if away || i < len(errs) && errors.Is(errs[i], ErrAway) {
			again = append(again, batch[i])
		}
	}
	t.mu.Lock()
	t.taken = 0
	t.waiting = slices.Insert(t.waiting, 0, again...)
	t.bytes -= sizeOf(batch) - sizeOf(again)
	t.mu.Unlock()
	if err != nil && !away {
		t.lose(len(batch), fmt.Errorf("record usage: %w", err))
	}
	for i, err := range errs {
		if err != nil && !errors.Is(err, ErrAway) {
			t.lose(1, fmt.Errorf("track %q: %w", batch[i].Feature, err))
		}
	}
	return len(again) == 0
}

// take takes at most n of the events that wait, the oldest first. What was recorded is not held on to.
func (t *Tracker) take(n int) []Tracked {
	t.mu.Lock()
	defer t.mu.Unlock()
	n = min(n, len(t.waiting))
	batch := slices.Clone(t.waiting[:n])
	t.taken = n
	t.waiting = slices.Delete(t.waiting, 0, n)
	return batch
}
