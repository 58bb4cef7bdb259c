package syncer

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tiergate/tiergate"
)

// A saver writes to the data directory in the background, so that a slow, full or broken
// disk never holds up a revision. It is the only user of the store once it runs.
type saver struct {
	store *store
	log   *slog.Logger
	every time.Duration
	state func() (r tiergate.Revision, seq uint64, asOf time.Time, ok bool)
	fault func(sentence string) // "" when the last save went well

	wake chan struct{} // holds one signal

	mu      sync.Mutex
	pending []tombstone
	dirty   bool // there is a state that is not saved
	urgent  bool // and it must be soon
}

// note takes what one revision left behind. It never blocks.
func (v *saver) note(tombs []tombstone, urgent bool) {
	if v == nil {
		return
	}
	v.mu.Lock()
	v.pending = append(v.pending, tombs...)
	v.dirty, v.urgent = true, v.urgent || urgent
	v.mu.Unlock()
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// run saves until ctx ends, and then what is left.
func (v *saver) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var calm, rush time.Time // when an ordinary and an urgent save may begin
	for {
		select {
		case <-ctx.Done():
			v.bury()
			v.save()
			return
		case <-v.wake:
		case <-timer.C:
		}
		v.bury()
		v.mu.Lock()
		due := calm
		if v.urgent {
			due = rush
		}
		dirty := v.dirty
		v.mu.Unlock()
		if !dirty {
			continue
		}
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			continue
		}
		began := time.Now()
		ok := v.save()
		took := time.Since(began)
		// A large state that changes all the time costs at most a fifth of a processor.
		rush = time.Now().Add(4 * took)
		calm = began.Add(max(v.every, 5*took))
		if !ok {
			rush = calm
			timer.Reset(time.Until(calm))
		}
	}
}

// bury makes what was deleted and revoked durable, before anything else.
func (v *saver) bury() {
	v.mu.Lock()
	tombs := v.pending
	v.pending = nil
	v.mu.Unlock()
	if len(tombs) == 0 {
		return
	}
	if err := v.store.bury(tombs[len(tombs)-1].seq, tombs); err != nil {
		v.log.Error("tombstones not saved", "error", err)
		v.fault(err.Error())
	}
}

// save writes the state if there is a new one, and reports false when that did not go well.
func (v *saver) save() bool {
	v.mu.Lock()
	dirty := v.dirty
	v.dirty, v.urgent = false, false
	v.mu.Unlock()
	if !dirty {
		return true
	}
	r, seq, asOf, ok := v.state()
	if !ok {
		return true
	}
	if err := v.store.save(r, seq, asOf); err != nil {
		v.log.Error("last-known-good state not saved", "error", err)
		v.fault(err.Error())
		v.mu.Lock()
		v.dirty = true
		v.mu.Unlock()
		return false
	}
	v.fault("")
	v.log.Debug("last-known-good state saved", "revision", r.Resume.Revision())
	return true
}
