package syncer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tiergate/tiergate"
)

// A Syncer keeps an Applier in step with a Source. Make one with New and run it once; its
// other methods are safe for concurrent use, before, while and after it runs.
type Syncer struct {
	cfg    Config
	log    *slog.Logger
	status *status

	applying sync.Mutex // held while a state is put in force; guards the fields below
	from     tiergate.Resume
}

// New makes a Syncer; nothing is read or started before Run.
func New(cfg Config) *Syncer {
	cfg = cfg.withDefaults()
	return &Syncer{cfg: cfg, log: cfg.Log, status: newStatus()}
}

// Run follows the source until ctx ends, and asks it anew, ever less often, when it is
// lost. What is in force stays in force meanwhile. It returns nil when ctx ends; all that
// it started has ended then.
func (s *Syncer) Run(ctx context.Context) error {
	var wait backoff
	for ctx.Err() == nil {
		heard, err := s.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if heard {
			wait.reset()
		}
		d := wait.next()
		s.log.Warn("source lost", "source", s.cfg.Name, "error", err, "retry", d)
		sleep(ctx, d)
	}
	return nil
}

// follow asks the source once, and reports whether it said anything before it was lost.
func (s *Syncer) follow(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer s.status.lost()
	f := &follower{s: s}
	s.applying.Lock()
	from := s.from
	s.applying.Unlock()
	defer func() {
		if p := recover(); p != nil {
			// A bug in a source or an applier must not end what answers from memory. What the
			// applier holds of the revision is not known, so the next state is a whole one.
			s.applying.Lock()
			s.from = tiergate.Resume{}
			s.applying.Unlock()
			heard, err = f.heard, fmt.Errorf("follow %s: bug: %v\n%s", s.cfg.Name, p, debug.Stack())
		}
	}()
	err = s.cfg.Source.Follow(ctx, from, f)
	if err == nil {
		err = errors.New("the source ended")
	}
	return f.heard, fmt.Errorf("follow %s: %w", s.cfg.Name, err)
}

// A follower is what one call of a Source's Follow talks to.
type follower struct {
	s     *Syncer
	heard bool
}

// Apply takes the next revision of the source.
func (f *follower) Apply(ctx context.Context, r tiergate.Revision) error {
	f.heard = true
	f.s.status.hear(time.Now())
	f.s.applying.Lock()
	defer f.s.applying.Unlock()
	return f.s.apply(ctx, r, f.s.cfg.Name)
}

// Confirm takes the moment up to which everything was handed over.
func (f *follower) Confirm(asOf time.Time) {
	f.heard = true
	f.s.status.hear(time.Now())
	f.s.status.confirmed(asOf)
}

// apply puts one revision in force, or records why it was refused. A revision that broke
// off on its way is neither: the source knows, and starts anew.
func (s *Syncer) apply(ctx context.Context, r tiergate.Revision, source string) error {
	err := s.cfg.Applier.Apply(ctx, r)
	if err == nil {
		s.from = r.Resume
		s.status.inForce(r.Resume, source)
		return nil
	}
	if ctx.Err() != nil {
		return err
	}
	s.from = r.Resume
	why := fmt.Sprintf("revision %s refused: %v", r.Resume.Revision(), err)
	if s.status.refused(r.Resume, why) {
		s.log.Error("revision refused; the last good state stays in force", "revision", r.Resume.Revision(), "error", err)
	}
	return err
}
