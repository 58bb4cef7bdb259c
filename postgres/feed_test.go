package postgres_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// A handed is a revision with its changes read.
type handed struct {
	tiergate.Revision
	changes []tiergate.Change
}

// A listener is a follower that passes on what it is handed.
type listener struct {
	revisions chan handed
	confirmed chan time.Time
}

func newListener() *listener {
	return &listener{make(chan handed, 64), make(chan time.Time, 1)}
}

func (l *listener) Apply(ctx context.Context, r tiergate.Revision) error {
	h := handed{Revision: r}
	for c, err := range r.Changes {
		if err != nil {
			return err
		}
		h.changes = append(h.changes, c)
	}
	select {
	case l.revisions <- h:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *listener) Confirm(asOf time.Time) {
	select {
	case l.confirmed <- asOf:
	default:
	}
}

// follow follows a database until the test ends, and returns what it is handed and the
// channel of Follow's end.
func follow(t *testing.T, cfg postgres.Config, from tiergate.Resume) (*listener, <-chan error) {
	t.Helper()
	l := newListener()
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { ended <- postgres.NewFeed(cfg).Follow(ctx, from, l) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return l, ended
}

func (l *listener) next(t *testing.T) handed {
	t.Helper()
	select {
	case h := <-l.revisions:
		return h
	case <-time.After(20 * time.Second):
		t.Fatal("no revision was handed over")
		panic("unreachable")
	}
}

// A follower gets the whole state, then each change as one revision with its image.
func TestFeed_follows(t *testing.T) {
	url := pgtest.New(t)
	l, _ := follow(t, postgres.Config{URL: url}, tiergate.Resume{})
	first := l.next(t)
	if !first.Whole || first.Resume.Rev != 1 || len(first.changes) != 1 {
		t.Fatalf("the first is %+v with %v, want the whole state with the default set", first.Resume, first.changes)
	}
	pgtest.Exec(t, url, `insert into tiers (key, name, rank) values ('free', 'Free', 0), ('pro', 'Pro', 10)`,
		`update tiers set name = name`, `delete from tiers where key = 'pro'`)
	second := l.next(t)
	if second.Whole || second.Resume.Rev != 2 || len(second.changes) != 2 {
		t.Fatalf("the second is %+v with %v, want two tiers", second.Resume, second.changes)
	}
	third := l.next(t)
	if third.Resume.Rev != 3 || len(third.changes) != 1 || third.changes[0].Key != "pro" || third.changes[0].Put != nil {
		t.Fatalf("the third is %+v with %v, want one deletion: an update that changes nothing is no revision", third.Resume, third.changes)
	}
}

// Following ends with its context.
func TestFeed_ends_with_its_context(t *testing.T) {
	url := pgtest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	l := newListener()
	ended := make(chan error, 1)
	go func() { ended <- postgres.NewFeed(postgres.Config{URL: url}).Follow(ctx, tiergate.Resume{}, l) }()
	l.next(t)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Follow ended with %v, want the context's error", err)
	}
}
