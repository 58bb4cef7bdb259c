package syncer

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tiergate/tiergate"
)

// heardWithin is how long ago the source must have said something to count as connected.
const heardWithin = 15 * time.Second

// lastKnownGood is the source's name of a state that was read from disk.
const lastKnownGood = "last-known-good"

// A status is what the syncer knows about itself. Safe for concurrent use.
type status struct {
	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at each change of force or handed
	ready    chan struct{} // closed by the first state in force
	force    tiergate.Resume
	handed   tiergate.Resume // the newest revision of the source, in force or refused
	fresh    tiergate.Freshness
	follows  bool      // the source is being followed
	heard    time.Time // when the source last said something
	refusals uint64
	problems []string
	fault    string // what went wrong with the last save
}

func newStatus() *status {
	return &status{changed: make(chan struct{}), ready: make(chan struct{})}
}

// inForce records that the state at r, which came from source, decides now. A refusal of
// the source's newest revision stands when what is in force came from disk.
func (s *status) inForce(r tiergate.Resume, source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fresh.Source == "" {
		close(s.ready)
	}
	s.force, s.fresh.Source = r, source
	if source != lastKnownGood {
		s.handed, s.fresh.Refused = r, ""
	}
	s.wake()
}

// refused records that the state at r was refused; it reports false when that is known.
func (s *status) refused(r tiergate.Resume, why string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.fresh.Refused == why && s.handed == r
	s.handed, s.fresh.Refused = r, why
	s.refusals++
	s.wake()
	return !known
}

func (s *status) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// confirmed records that the source has nothing after at up to asOf. If that is what is in
// force, the age of the data moves, never backwards, and a state that was read from disk is
// the source's own from now on. While a refusal stands, what the source holds is not in
// force, and the age goes on growing from the last state that was.
func (s *status) confirmed(at tiergate.Resume, asOf time.Time, source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fresh.Refused != "" || s.fresh.Source == "" || at != s.force {
		return
	}
	s.fresh.Source, s.handed = source, at
	if asOf.After(s.fresh.AsOf) {
		s.fresh.AsOf = asOf
	}
}

// based records how old the data of the last-known-good state in force is. A moment in the
// future, by a clock that was set back, is no age at all: it counts as very old.
func (s *status) based(asOf, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if asOf.IsZero() || asOf.After(now) {
		asOf = time.Unix(1, 0)
	}
	s.fresh.AsOf = asOf
}

func (s *status) asOf() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fresh.AsOf
}

func (s *status) hear(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.follows, s.heard = true, now
}

// touch moves the moment from which silence is counted.
func (s *status) touch(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = now
}

func (s *status) silentFor(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(s.heard)
}

func (s *status) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.follows = false
}

// problem keeps one sentence that an operator should see, once.
func (s *status) problem(sentence string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.problems) < 32 && !slices.Contains(s.problems, sentence) {
		s.problems = append(s.problems, sentence)
	}
}

// faulty keeps what went wrong with the last save, "" when it went well.
func (s *status) faulty(sentence string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = sentence
}

// Freshness says how old the state in force is. Safe for concurrent use; cheap enough for
// each request.
func (s *Syncer) Freshness() tiergate.Freshness {
	st := s.status
	st.mu.Lock()
	defer st.mu.Unlock()
	f := st.fresh
	f.Connected = st.follows && time.Since(st.heard) < heardWithin
	return f
}

// AsOf returns Freshness's time alone; it is cheap enough for each request.
func (s *Syncer) AsOf() time.Time { return s.status.asOf() }

// Refused returns how many revisions were refused since the start.
func (s *Syncer) Refused() uint64 {
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	return s.status.refusals
}

// Ready is closed once a first state is in force.
func (s *Syncer) Ready() <-chan struct{} { return s.status.ready }

// Problems are sentences about files on disk that were not used and why, and about a last
// save that did not succeed; empty when all is well. Safe for concurrent use.
func (s *Syncer) Problems() []string {
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	list := slices.Clone(s.status.problems)
	if s.status.fault != "" {
		list = append(list, s.status.fault)
	}
	return list
}

// Wait returns once the revision r, or a later one of the same history, is in force. It
// returns Conflict as soon as that revision is refused, and Unavailable when ctx ends. The
// zero Resume, of a write that changed nothing, is never waited for.
func (s *Syncer) Wait(ctx context.Context, r tiergate.Resume) error {
	if r == (tiergate.Resume{}) {
		return nil
	}
	st := s.status
	for {
		st.mu.Lock()
		force, handed, why, changed := st.force, st.handed, st.fresh.Refused, st.changed
		st.mu.Unlock()
		if reaches(force, r) {
			return nil
		}
		if why != "" && reaches(handed, r) {
			return tiergate.Errorf(tiergate.Conflict, "revision %s is not in force: %s", r.Revision(), why)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return tiergate.Errorf(tiergate.Unavailable, "revision %s is not in force yet", r.Revision()).Because(ctx.Err())
		}
	}
}

func reaches(have, want tiergate.Resume) bool {
	return have.Epoch == want.Epoch && have.Rev >= want.Rev
}
