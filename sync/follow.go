package syncer

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/backoff"
)

var (
	// errStartAnew ends a Follow that goes on from a state that is not in force after all.
	errStartAnew = errors.New("the last-known-good state could not be used; starting with a whole state")
	// errWhole ends a Follow that only a whole state can follow.
	errWhole  = errors.New("the whole state is needed")
	errSilent = errors.New("the source is silent")
	errBug    = errors.New("bug")
)

// follow asks the source once, and reports whether it was of use before it was lost.
func (s *Syncer) follow(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	s.applying.Lock()
	f := &follower{s: s, at: s.from, cancel: cancel}
	s.applying.Unlock()
	s.status.touch(time.Now())

	var watching sync.WaitGroup
	watching.Go(func() { s.watchSilence(ctx, cancel) })
	defer watching.Wait()
	defer cancel(nil)
	defer s.status.lost()

	err = s.followSafely(ctx, f)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	if err == nil {
		err = errors.New("the source ended")
	}
	return f.heard, fmt.Errorf("follow %s: %w", s.cfg.Name, err)
}

// watchSilence ends a Follow in which nothing was heard for too long: a source is asked
// each few seconds even if nothing changes, so silence means that it hangs.
func (s *Syncer) watchSilence(ctx context.Context, cancel context.CancelCauseFunc) {
	for backoff.Sleep(ctx, s.cfg.Patience/4) {
		if s.status.silentFor(time.Now()) >= s.cfg.Patience {
			cancel(errSilent)
			return
		}
	}
}

// followSafely turns a panic of the source into an error: a bug there must not end what
// answers from memory.
func (s *Syncer) followSafely(ctx context.Context, f *follower) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errBug, p, debug.Stack())
		}
	}()
	return s.cfg.Source.Follow(ctx, f.at, f)
}

// applySafely turns a panic of the applier into an error.
func (s *Syncer) applySafely(ctx context.Context, r tiergate.Revision) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errBug, p, debug.Stack())
		}
	}()
	return s.cfg.Applier.Apply(ctx, r)
}

// A follower is what one call of a Source's Follow talks to.
type follower struct {
	s      *Syncer
	at     tiergate.Resume // where the source is
	heard  bool            // it handed over something that could be used
	cancel context.CancelCauseFunc
}

// Apply takes the next revision of the source.
func (f *follower) Apply(ctx context.Context, r tiergate.Revision) error {
	f.s.status.hear(time.Now())
	f.s.applying.Lock()
	defer f.s.applying.Unlock()
	if !r.Whole {
		if err := f.stand(ctx); err != nil {
			return err
		}
	}
	err := f.s.apply(ctx, r)
	switch {
	case err == nil:
		f.s.dropBaseLocked()
	case errors.Is(err, errBug), tiergate.CodeOf(err) == tiergate.Conflict:
		// What the applier holds is not known, or is nothing that this goes on top of.
		f.s.from = tiergate.Resume{}
		f.cancel(fmt.Errorf("%w: %w", errWhole, err))
	case f.s.base != nil && ctx.Err() == nil:
		// There is nothing to serve but what is on disk. With that in force, the source's
		// next change would go on top of the wrong state.
		f.s.useBaseLocked(ctx)
		f.s.from = tiergate.Resume{}
		f.cancel(err)
	}
	f.at = f.s.from
	f.heard = f.heard || err == nil
	return err
}

// Confirm takes the moment up to which everything was handed over.
func (f *follower) Confirm(asOf time.Time) {
	f.heard = true
	f.s.status.hear(time.Now())
	f.s.applying.Lock()
	defer f.s.applying.Unlock()
	if f.stand(context.Background()) != nil {
		return
	}
	ageless := f.s.status.asOf().IsZero()
	f.s.status.confirmed(f.at, asOf, f.s.cfg.Name)
	if ageless && !f.s.status.asOf().IsZero() {
		f.s.saver.note(nil, true) // what was saved before says nothing of its age
	}
}

// stand makes sure that the state on top of which the source goes on is in force.
func (f *follower) stand(ctx context.Context) error {
	f.s.useBaseLocked(ctx)
	if f.at != f.s.from {
		f.cancel(errStartAnew)
		return errStartAnew
	}
	return nil
}
