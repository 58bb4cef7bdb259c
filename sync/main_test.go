package syncer

import (
	"context"
	"errors"
	stdflag "flag"
	"maps"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tiergate/tiergate"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("TIERGATE_TEST_VICTIM"); dir != "" {
		victim(dir) // never returns: it is killed
	}
	// The machine of the crash test waits for the disk most of the time.
	_ = stdflag.Set("rapid.checks", "40")
	goleak.VerifyTestMain(m)
}

// A memory is an Applier that keeps things in a map and refuses what refuse says.
type memory struct {
	mu     sync.Mutex
	at     tiergate.Resume
	things map[string]any // in force
	next   map[string]any // what the next revision goes on top of
	refuse func(tiergate.Revision) error
}

func thingKey(c tiergate.Change) string { return string(c.Kind) + "\n" + c.Key }

func (m *memory) Apply(_ context.Context, r tiergate.Revision) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := map[string]any{}
	if !r.Whole {
		maps.Copy(next, m.next)
	}
	for c, err := range r.Changes {
		if err != nil {
			return err
		}
		if c.Put == nil {
			delete(next, thingKey(c))
		} else {
			next[thingKey(c)] = c.Put
		}
	}
	m.next = next
	if m.refuse != nil {
		if err := m.refuse(r); err != nil {
			return err
		}
	}
	m.things, m.at = next, r.Resume
	return nil
}

func (m *memory) State() (tiergate.Revision, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	things := m.things
	return tiergate.Revision{Resume: m.at, Whole: true, Changes: func(yield func(tiergate.Change, error) bool) {
		for _, t := range things {
			if !yield(tiergate.PutOf(t), nil) {
				return
			}
		}
	}}, things != nil
}

func (m *memory) get(thing any) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.things[thingKey(tiergate.PutOf(thing))]
}

// A script is a Source that does what it is told, one function per call of Follow; after
// the last it waits for the end.
type script struct {
	mu    sync.Mutex
	calls []func(ctx context.Context, from tiergate.Resume, f tiergate.Follower) error
	froms []tiergate.Resume
}

func (s *script) Follow(ctx context.Context, from tiergate.Resume, f tiergate.Follower) error {
	s.mu.Lock()
	s.froms = append(s.froms, from)
	var call func(context.Context, tiergate.Resume, tiergate.Follower) error
	if len(s.calls) > 0 {
		call, s.calls = s.calls[0], s.calls[1:]
	}
	s.mu.Unlock()
	if call != nil {
		return call(ctx, from, f)
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *script) asked() []tiergate.Resume {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]tiergate.Resume(nil), s.froms...)
}

type follow = func(ctx context.Context, from tiergate.Resume, f tiergate.Follower) error

func away(context.Context, tiergate.Resume, tiergate.Follower) error {
	return errors.New("connection refused")
}

const epoch = "0192f0aa-0000-7000-8000-000000000001"

func at(rev int64) tiergate.Resume {
	return tiergate.Resume{Epoch: epoch, Rev: rev, Hash: "h", Schema: 1}
}

func whole(r tiergate.Resume, things ...any) tiergate.Revision {
	rev := puts(r, things...)
	rev.Whole = true
	return rev
}

func puts(r tiergate.Resume, things ...any) tiergate.Revision {
	var changes []tiergate.Change
	for _, t := range things {
		changes = append(changes, tiergate.PutOf(t))
	}
	return tiergate.Revision{Resume: r, Changes: tiergate.ChangesOf(changes...), At: time.Unix(1_700_000_000, 0)}
}

func deletes(r tiergate.Resume, things ...any) tiergate.Revision {
	var changes []tiergate.Change
	for _, t := range things {
		kind, key := tiergate.KeyOf(t)
		changes = append(changes, tiergate.Change{Kind: kind, Key: key})
	}
	return tiergate.Revision{Resume: r, Changes: tiergate.ChangesOf(changes...)}
}

// start runs a syncer until the test ends or stop is called.
func start(t *testing.T, s *Syncer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}
