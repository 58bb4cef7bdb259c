package syncer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/backoff"
)

// The waits between two attempts at a source that is away.
const (
	firstWait = 100 * time.Millisecond
	mostWait  = 5 * time.Second
	mostAnew  = time.Minute // between whole states that were not enough
)

// A Syncer keeps an Applier in step with a Source. Make one with New and run it once; its
// other methods are safe for concurrent use, before, while and after it runs.
type Syncer struct {
	cfg    Config
	log    *slog.Logger
	status *status
	before step // called before each change of the disk

	withdrawn sync.Map // the ids of keys that were revoked or deleted

	tried    chan struct{} // closed once the source was lost and the state files were tried
	tryOnce  sync.Once
	applying sync.Mutex // held while a state is put in force; guards the fields below
	from     tiergate.Resume
	seq      uint64 // the number of the newest revision that was handed over; see files.go
	goodSeq  uint64 // and of the state in force
	revoked  map[string]bool
	store    *store // the saver's once the first revision of the source was handed over
	saver    *saver // nil without a data directory
	base     *base  // a state file that waits to be put in force, or nil
}

// New makes a Syncer; nothing is read or started before Run.
func New(cfg Config) *Syncer {
	cfg = cfg.withDefaults()
	return &Syncer{cfg: cfg, log: cfg.Log, status: newStatus(), before: noStep, revoked: map[string]bool{}, tried: make(chan struct{})}
}

// Tried is closed once the source was lost for the first time and what there was of a
// last-known-good state has been tried: if Ready is not closed then, there is nothing to
// serve until the source answers.
func (s *Syncer) Tried() <-chan struct{} { return s.tried }

// Run follows the source until ctx ends, and asks it anew, ever less often, when it is
// lost; what is in force stays in force meanwhile. Where the source does not answer soon,
// the last-known-good state is put in force. It returns nil when ctx ends, after a last
// save; all that it started has ended then. A key file that cannot be used is an error; a
// data directory that cannot is a problem, and nothing is kept.
func (s *Syncer) Run(ctx context.Context) error {
	if err := s.openDisk(ctx); err != nil {
		return err
	}
	var working sync.WaitGroup
	if s.saver != nil {
		saving, endSaving := context.WithCancel(context.WithoutCancel(ctx))
		defer s.store.close()
		defer working.Wait()
		defer endSaving()
		working.Go(func() { s.saver.run(saving) })
	}
	graceful, endGrace := context.WithCancel(ctx)
	defer s.dropBase()
	var grace sync.WaitGroup
	defer grace.Wait()
	defer endGrace()
	grace.Go(func() {
		if backoff.Sleep(graceful, s.cfg.Grace) {
			s.useBase(graceful)
		}
	})
	s.followForEver(ctx)
	return nil
}

// followForEver asks the source again and again until ctx ends. A source that answers is
// asked soon again, unless the answer ended in a bug or in the need of a whole state: those
// may come again with each, so they back off on their own until one Follow went well for long.
func (s *Syncer) followForEver(ctx context.Context) {
	lost, anew := backoff.Backoff{First: firstWait, Most: mostWait}, backoff.Backoff{First: firstWait, Most: mostAnew}
	for ctx.Err() == nil {
		began := time.Now()
		heard, err := s.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		s.useBase(ctx)
		if errors.Is(err, errStartAnew) {
			continue
		}
		s.tryOnce.Do(func() { close(s.tried) })
		wait := &lost
		if errors.Is(err, errWhole) || errors.Is(err, errBug) {
			wait, heard = &anew, time.Since(began) >= mostAnew
		}
		if heard {
			wait.Reset()
		}
		d := wait.Next()
		s.log.Warn("source lost", "source", s.cfg.Name, "error", err, "retry", d)
		backoff.Sleep(ctx, d)
	}
}

// openDisk takes the data directory and finds the newest state file that may be used.
func (s *Syncer) openDisk(ctx context.Context) error {
	if s.cfg.Dir == "" {
		return nil
	}
	var given *key
	if s.cfg.KeyFile != "" {
		k, err := readKeyFile(s.cfg.KeyFile)
		if err != nil {
			return err
		}
		given = &k
	}
	store, err := openStore(s.cfg.Dir, given, s.before, s.problem)
	if err != nil {
		s.problem(fmt.Sprintf("no last-known-good state is kept: %v", err))
		return nil
	}
	store.load()
	for _, t := range store.tombs {
		if t.revoked {
			s.revoke(t.key)
		}
	}
	s.store, s.base = store, store.next(ctx)
	if s.base != nil {
		s.from = s.base.resume()
	}
	s.seq = store.seq
	s.saver = &saver{
		store: store, log: s.log, every: s.cfg.SaveEvery,
		state: s.state, fault: s.status.faulty, wake: make(chan struct{}, 1),
	}
	return nil
}

// state returns what is to be saved and the number and age of exactly that.
func (s *Syncer) state() (r tiergate.Revision, seq uint64, asOf time.Time, ok bool) {
	s.applying.Lock()
	defer s.applying.Unlock()
	r, ok = s.cfg.Applier.State()
	return r, s.goodSeq, s.status.asOf(), ok
}

func (s *Syncer) problem(sentence string) {
	s.log.Error("problem on disk", "problem", sentence)
	s.status.problem(sentence)
}

// useBase puts the state file that waits in force, or an older one if it is refused.
func (s *Syncer) useBase(ctx context.Context) {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.useBaseLocked(ctx)
}

func (s *Syncer) useBaseLocked(ctx context.Context) {
	for s.base != nil && ctx.Err() == nil {
		b := s.base
		r := b.revision()
		p := s.pass(ctx, &r)
		err := s.applySafely(ctx, r)
		b.close()
		s.base = nil
		switch {
		case err == nil:
			s.goodSeq = b.header.Seq
			s.status.based(b.asOf, time.Now())
			s.status.inForce(r.Resume, lastKnownGood)
			if len(p.tombs) > 0 {
				s.saver.note(p.number(s.seq), false)
			}
			s.log.Info("last-known-good state in force", "file", b.name, "revision", r.Resume.Revision(), "asOf", b.asOf)
		case ctx.Err() != nil:
			s.from = tiergate.Resume{}
		default:
			s.problem(fmt.Sprintf("%s is not used: %v", b.name, err))
			s.from = tiergate.Resume{}
			if s.base = s.store.next(ctx); s.base != nil {
				s.from = s.base.resume()
			}
		}
	}
}

func (s *Syncer) dropBase() {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.dropBaseLocked()
}

func (s *Syncer) dropBaseLocked() {
	s.base.close()
	s.base = nil
}

// apply puts one revision of the source in force, or records why it was refused. A
// revision that broke off on its way is neither: the source knows, and starts anew.
func (s *Syncer) apply(ctx context.Context, r tiergate.Revision) error {
	p := s.pass(ctx, &r)
	err := s.applySafely(ctx, r)
	if err != nil && (p.broke || ctx.Err() != nil) {
		return err
	}
	s.seq++
	s.from = r.Resume
	// A whole state may leave out what older files have, so it is saved soon as well.
	s.saver.note(p.number(s.seq), len(p.tombs) > 0 || r.Whole)
	if err == nil {
		s.goodSeq = s.seq
		s.status.inForce(r.Resume, s.cfg.Name)
		return nil
	}
	why := fmt.Sprintf("revision %s refused: %v", r.Resume.Revision(), err)
	if s.status.refused(r.Resume, why) {
		s.log.Error("revision refused; the last good state stays in force", "revision", r.Resume.Revision(), "error", err)
	}
	return err
}

// A passage is what was seen of a revision while the applier read it.
type passage struct {
	tombs []tombstone
	broke bool // the changes ended with an error, or are with the source, which did not come back
}

// number says that the tombstones belong to the revision of that number.
func (p *passage) number(seq uint64) []tombstone {
	for i := range p.tombs {
		p.tombs[i].seq = seq
	}
	return p.tombs
}

// pass lets us see the changes of r as they are read, and keeps revoked keys revoked:
// that state is final, whatever an older dump or another history of the source says. The
// changes end with an error soon after ctx does.
func (s *Syncer) pass(ctx context.Context, r *tiergate.Revision) *passage {
	p := &passage{}
	changes, isWhole := r.Changes, r.Whole
	r.Changes = func(yield func(tiergate.Change, error) bool) {
		n := 0
		p.broke = true
		for c, err := range changes {
			if err != nil {
				yield(c, err)
				return
			}
			if n++; n%1024 == 0 {
				s.status.touch(time.Now())
				if err := ctx.Err(); err != nil {
					yield(tiergate.Change{}, err)
					return
				}
			}
			if c.Put == nil && !isWhole {
				p.tombs = append(p.tombs, tombstone{kind: c.Kind, key: c.Key})
				if c.Kind == tiergate.KindKey {
					s.withdrawn.Store(c.Key, nil)
				}
			}
			if k, ok := c.Put.(*tiergate.Key); ok {
				c.Put = s.stayRevoked(k, p)
			}
			p.broke = false
			if !yield(c, nil) {
				return
			}
			p.broke = true
		}
		p.broke = false
	}
	return p
}

// revoke remembers for good that a key was revoked.
func (s *Syncer) revoke(id string) {
	s.revoked[id] = true
	s.withdrawn.Store(id, nil)
}

// Withdrawn says whether the key of that id was seen revoked or deleted. The state in force
// may not say so: a revision that is refused, such as for its policy, keeps the one before
// it in force, and must not keep a key alive that somebody took away.
func (s *Syncer) Withdrawn(id string) bool {
	_, is := s.withdrawn.Load(id)
	return is
}

func (s *Syncer) stayRevoked(k *tiergate.Key, p *passage) *tiergate.Key {
	switch {
	case k.State != tiergate.KeyRevoked && !s.revoked[k.ID]:
		s.withdrawn.Delete(k.ID)
	case k.State == tiergate.KeyRevoked && !s.revoked[k.ID]:
		s.revoke(k.ID)
		p.tombs = append(p.tombs, tombstone{revoked: true, kind: tiergate.KindKey, key: k.ID})
	case k.State != tiergate.KeyRevoked:
		again := *k
		again.State = tiergate.KeyRevoked
		return &again
	}
	return k
}
