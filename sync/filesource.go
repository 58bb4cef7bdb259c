package syncer

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tiergate/tiergate"
)

// FileOptions say how a folder is read.
type FileOptions struct {
	// Admit decides whether Rego modules may be loaded and returns the name of the rules
	// under which it did; nil admits none.
	Admit func(ctx context.Context, modules map[string]string) (admission string, err error)
	Log   *slog.Logger // nil discards
	// Rescan is how often the folder is read even if nobody says that it changed, which
	// makes up for lost events. Default 10 s.
	Rescan time.Duration
	// Settle is how long the folder must be quiet before a change is read. Default 30 ms.
	Settle time.Duration
}

// A FileSource is a Source that reads a folder: flagd flag files (*.json, *.yaml, *.yml),
// tiers.yaml, teams.yaml, and Rego policies (*.rego, without tests). It watches the folder;
// editors' renames, swaps of Kubernetes' ..data link and a folder that was removed and came
// back are changes like any other. A file that cannot be read keeps its last good content
// and is a problem; a file that vanished counts as deleted once it stayed away for a moment.
//
// At the start there is no last good content. A policy, tiers.yaml or teams.yaml that cannot
// be used then must not stand for none: the folder is not followed until it is mended, so
// that the last-known-good state serves, or nothing. The same goes for flags where such a
// state is there; else the flags of the other files are served.
//
// Each FileSource is a history of its own, with a random epoch and revisions from 1: after
// a restart the state is handed over whole. It is followed by one Syncer at a time.
type FileSource struct {
	dir   string
	opts  FileOptions
	watch func(dir string, log *slog.Logger) *watch

	following sync.Mutex // held by Follow; guards the fields below
	folder    folder
	sent      state // what was handed over as revision rev
	resumed   bool  // another state is in force, or can be
	epoch     string
	rev       int64

	mu       sync.Mutex
	problems []string
}

// NewFileSource makes a source of a folder. Nothing is read yet.
func NewFileSource(dir string, o FileOptions) *FileSource {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Rescan <= 0 {
		o.Rescan = 10 * time.Second
	}
	if o.Settle <= 0 {
		o.Settle = 30 * time.Millisecond
	}
	return &FileSource{dir: dir, opts: o, watch: watchDir, folder: newFolder(dir, o.Admit), epoch: newEpoch()}
}

// newEpoch makes a random UUID.
func newEpoch() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Check says in one sentence why the folder cannot be read, nil when it can.
func (s *FileSource) Check(context.Context) error {
	if _, err := os.ReadDir(s.dir); err != nil {
		return fmt.Errorf("read the folder of flag files: %w", err)
	}
	return nil
}

// Problems says, a sentence each and in a fixed order, what is wrong in the folder; what is
// not named is in force. Safe for concurrent use.
func (s *FileSource) Problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.problems)
}

// Follow hands over the folder's content and then each settled change, until ctx ends or
// the folder cannot be read.
func (s *FileSource) Follow(ctx context.Context, from tiergate.Resume, f tiergate.Follower) error {
	if !s.following.TryLock() {
		return errors.New("the folder is followed already")
	}
	defer s.following.Unlock()
	if from != (tiergate.Resume{Epoch: s.epoch, Rev: s.rev}) {
		s.sent, s.resumed = nil, from != tiergate.Resume{}
	}
	w := s.watch(s.dir, s.opts.Log) // before the first look, so that no change falls between
	defer func() { w.close() }()
	rescan := time.NewTicker(s.opts.Rescan)
	defer rescan.Stop()
	for {
		again, err := s.look(ctx, f)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.changed:
			s.settle(ctx, w)
			if w.dir == nil || w.current(s.dir) {
				continue
			}
		case <-afterOrNever(again):
			continue
		case <-rescan.C:
			if w.current(s.dir) {
				continue
			}
		}
		w.close() // the folder is another one by now, or could not be watched before
		w = s.watch(s.dir, s.opts.Log)
	}
}

func afterOrNever(d time.Duration) <-chan time.Time {
	if d <= 0 {
		return nil
	}
	return time.After(d)
}

// settle waits until the folder was quiet for a while, but not for ever.
func (s *FileSource) settle(ctx context.Context, w *watch) {
	for range 10 {
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
		case <-time.After(s.opts.Settle):
			return
		}
	}
}

// look reads the folder and hands over what is new. It returns when to look again at the
// latest because a file is away that may come back, 0 when there is none.
func (s *FileSource) look(ctx context.Context, f tiergate.Follower) (again time.Duration, err error) {
	asOf := time.Now()
	// An editor that saves by renaming leaves a moment without the file.
	away, err := s.folder.scan(asOf, 10*s.opts.Settle)
	if err != nil {
		s.report([]string{err.Error() + "; what was read before stays in force"})
		return 0, err
	}
	a := s.folder.assemble(ctx)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	s.report(a.problems)
	next, whole := a.state, s.sent == nil
	if lost := cmp.Or(a.lostRules, s.known(a.lostFlags)); whole && lost != "" {
		return 0, fmt.Errorf("read the folder of flag files: %s", lost)
	}
	if changes := next.since(s.sent); whole || len(changes) > 0 {
		s.rev++
		s.sent = next
		r := tiergate.Revision{
			Resume:  tiergate.Resume{Epoch: s.epoch, Rev: s.rev},
			Whole:   whole,
			Changes: tiergate.ChangesOf(changes...),
			At:      asOf,
		}
		// A refusal is the follower's to report.
		if err := f.Apply(ctx, r); err != nil && ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	if away {
		return 10 * s.opts.Settle, nil // not all that we know is handed over
	}
	f.Confirm(asOf)
	return 0, nil
}

// known returns problem where a state is known that did not have it.
func (s *FileSource) known(problem string) string {
	if s.resumed {
		return problem
	}
	return ""
}

// report keeps the problems and logs those that are new.
func (s *FileSource) report(problems []string) {
	s.mu.Lock()
	before := s.problems
	s.problems = problems
	s.mu.Unlock()
	for _, p := range problems {
		if !slices.Contains(before, p) {
			s.opts.Log.Warn("problem in the folder of flag files", "problem", p)
		}
	}
}
