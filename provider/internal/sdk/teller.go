package sdk

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
)

const (
	// apart is how far two events about changes are apart: what changes meanwhile is one event.
	apart = 50 * time.Millisecond
	// mostNamed is how many flags an event names; beyond, all may have changed.
	mostNamed = 4096
)

// A Change is what may be answered otherwise than before.
type Change struct {
	Flags    []string // those whose definitions changed, …
	All      bool     // … or every one
	Subjects bool     // something about users or teams changed, so that any answer may have
	Revision string   // what is in force now; "" when that is not known
}

// A teller hands events to the SDK, which may be slow to take them. What waits is bounded: the
// newest state, and all changes as one. Safe for concurrent use.
type teller struct {
	name   string
	events chan openfeature.Event
	wake   chan struct{} // holds one when there is something to tell

	mu     sync.Mutex
	state  *openfeature.Event
	change *Change
	after  time.Time // nothing is told before
}

func newTeller(name string) *teller {
	return &teller{name: name, events: make(chan openfeature.Event), wake: make(chan struct{}, 1)}
}

func (t *teller) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// tellState tells a state; one that nobody has heard of yet is not told any more.
func (t *teller) tellState(kind openfeature.EventType, message string, code openfeature.ErrorCode) {
	t.mu.Lock()
	t.state = &openfeature.Event{
		ProviderName: t.name, EventType: kind,
		ProviderEventDetails: openfeature.ProviderEventDetails{Message: message, ErrorCode: code},
	}
	t.mu.Unlock()
	t.poke()
}

// tellChange tells a change, together with those that nobody has heard of yet.
func (t *teller) tellChange(c Change) {
	t.mu.Lock()
	if t.change != nil {
		c.All, c.Subjects = c.All || t.change.All, c.Subjects || t.change.Subjects
		c.Flags = append(slices.Clip(t.change.Flags), c.Flags...)
	}
	slices.Sort(c.Flags)
	c.Flags = slices.Compact(c.Flags)
	if c.All || len(c.Flags) > mostNamed {
		c.All, c.Flags = true, nil
	}
	t.change = &c
	t.mu.Unlock()
	t.poke()
}

// hold lets nothing be told for a while.
func (t *teller) hold(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.after = time.Now().Add(d)
}

// next takes what is to be told first, the state; or says how long to wait for it.
func (t *teller) next() (e openfeature.Event, ok bool, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == nil && t.change == nil {
		return e, false, 0
	}
	if wait = time.Until(t.after); wait > 0 {
		return e, false, wait
	}
	if s := t.state; s != nil {
		t.state = nil
		return *s, true, 0
	}
	c := t.change
	t.change, t.after = nil, time.Now().Add(apart)
	return t.eventOf(c), true, 0
}

func (t *teller) eventOf(c *Change) openfeature.Event {
	about := map[string]any{"all": c.All, "subjects": c.Subjects}
	if c.Revision != "" {
		about["revision"] = c.Revision
	}
	return openfeature.Event{
		ProviderName: t.name, EventType: openfeature.ProviderConfigChange,
		ProviderEventDetails: openfeature.ProviderEventDetails{
			Message: "what is decided may have changed", FlagChanges: c.Flags, EventMetadata: about,
		},
	}
}

// run tells until ctx ends.
func (t *teller) run(ctx context.Context) {
	for {
		e, ok, wait := t.next()
		if ok {
			select {
			case t.events <- e:
				continue
			case <-ctx.Done():
				return
			}
		}
		var later <-chan time.Time
		if wait > 0 {
			later = time.After(wait)
		}
		select {
		case <-t.wake:
		case <-later:
		case <-ctx.Done():
			return
		}
	}
}

// forget drops what nobody has heard of.
func (t *teller) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state, t.change, t.after = nil, nil, time.Time{}
}
