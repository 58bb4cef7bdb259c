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

// refreshEvery is how often the age of the state file is written, while nothing but that
// changes: two fsyncs of some 200 bytes. A restart after a kill takes its state for older
// by that at most.
const refreshEvery = 10 * time.Second

// run saves until ctx ends, and then what is left.
func (v *saver) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	refresh := time.NewTicker(refreshEvery)
	defer refresh.Stop()
	var calm, rush time.Time // when an ordinary and an urgent save may begin
	for {
		select {
		case <-ctx.Done():
			v.bury()
			v.save()
			v.refresh()
			return
		case <-refresh.C:
			v.refresh()
			continue
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

// refresh writes how old the state file is, if it is the state in force. That it does not
// succeed is not worth a word: the age that is there is only too old.
func (v *saver) refresh() {
	v.mu.Lock()
	dirty := v.dirty
	v.mu.Unlock()
	if dirty {
		return // the state file is not the state in force, and will be written anyway
	}
	_, seq, asOf, ok := v.state()
	if !ok {
		return
	}
	if err := v.store.refresh(seq, asOf); err != nil {
		v.log.Debug("age of the last-known-good state not saved", "error", err)
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
