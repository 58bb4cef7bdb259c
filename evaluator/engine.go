package evaluator

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/policy"
	"github.com/tiergate/tiergate/snapshot"
)

// Options are an Engine's settings; the zero value is the usual.
type Options struct {
	Log *slog.Logger // what is quarantined or refused; nil logs nothing
	// TrustContextTier lets the "tier" of an evaluation context stand for the user's own:
	// for the file source, when it is told to.
	TrustContextTier bool
	// Admitted says whether a policy bundle may be loaded. Nil means that its Admission is
	// this program's policy.AdmissionID. The bundle's Hash is checked in any case.
	Admitted func(*tiergate.PolicyBundle) bool
	// Policy bounds the policy's evaluations and cache.
	Policy policy.Settings
}

// An Engine puts revisions in force and hands out the Generation that decides. It
// implements tiergate.Applier and tiergate.Exporter. Apply is for one goroutine, all else
// for any number.
type Engine struct {
	options Options
	store   snapshot.Store
	staged  *staged // the newest state, in force or refused
	current atomic.Pointer[Generation]

	calendars calendars // of limits, shared by all generations
	history   history   // for those who follow changes
	exports   exports   // for those who decide themselves
}

// New makes an Engine that knows nothing yet.
func New(o Options) *Engine {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Admitted == nil {
		o.Admitted = func(b *tiergate.PolicyBundle) bool { return b.Admission == policy.AdmissionID() }
	}
	return &Engine{options: o, staged: &staged{}, history: history{more: make(chan struct{})}}
}

// Apply puts a revision in force as a whole. A policy that cannot be used and a change that
// cannot be applied are refusals: the last good generation stays in force, and the next
// revision comes on top of the refused one, until one has put right what is bad. A flag
// that cannot be used is quarantined and refuses nothing. An error of the Store (the
// changes broke off, the revision does not follow) changes nothing at all: the same
// revision, or a whole state, is expected.
func (e *Engine) Apply(_ context.Context, r tiergate.Revision) error {
	view, delta, err := e.store.Apply(r)
	if err != nil {
		return err
	}
	e.history.changed(delta)
	e.staged = e.staged.next(view, delta, e.options)
	if err := e.staged.refused(); err != nil {
		return fmt.Errorf("put revision %s in force: %w", r.Resume.Revision(), err)
	}
	g := e.staged.generation(e.options, &e.calendars)
	e.current.Store(g)
	e.history.inForce(g)
	if r.Whole && view.FlagCount()+view.Users() > largeState {
		go debug.FreeOSMemory()
	}
	return nil
}

// largeState is from how many flags and users on the garbage of reading a whole state is
// given back to the machine at once, behind the generation that already serves. Else it
// stays resident for as long as little changes: 100,000 flags leave 420 MiB instead of 260.
const largeState = 20_000

// State returns the state in force as a whole revision, and false before the first.
func (e *Engine) State() (tiergate.Revision, bool) {
	g := e.current.Load()
	if g == nil {
		return tiergate.Revision{}, false
	}
	return g.view.State(), true
}

// Generation returns the generation in force, nil before the first.
func (e *Engine) Generation() tiergate.Generation {
	if g := e.current.Load(); g != nil {
		return g
	}
	return nil
}

// Current is Generation by its own type.
func (e *Engine) Current() *Generation { return e.current.Load() }

// A Quarantined flag has a definition that cannot be used; it answers with an error.
type Quarantined struct {
	Set, Flag string
	Err       error
}

// Quarantined lists the quarantined flags of the generation in force by set and name.
func (e *Engine) Quarantined() []Quarantined {
	g := e.current.Load()
	if g == nil {
		return nil
	}
	return g.Quarantined()
}
