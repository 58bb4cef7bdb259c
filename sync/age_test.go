package syncer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/backoff"
)

// A state from disk is the source's own as soon as the source says that it holds the same.
func TestFreshness_names_the_source_once_it_has_confirmed_the_state_from_disk(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, whole(at(1), flag("a")))
	confirm, confirmed := make(chan struct{}), make(chan struct{})
	src := &script{calls: []follow{away, func(ctx context.Context, from tiergate.Resume, f tiergate.Follower) error {
		if from != at(1) {
			t.Errorf("asked from %v", from)
		}
		<-confirm
		f.Confirm(time.Now())
		close(confirmed)
		<-ctx.Done()
		return nil
	}}}
	s := New(Config{Source: src, Applier: &memory{}, Name: "test", Dir: dir})
	start(t, s)
	<-s.Ready()
	if f := s.Freshness(); f.Source != lastKnownGood {
		t.Errorf("before the source has answered: %+v", f)
	}
	close(confirm)
	<-confirmed
	if f := s.Freshness(); f.Source != "test" || f.Age(time.Now()) > time.Minute {
		t.Errorf("after the source has confirmed: %+v", f)
	}
}

// What a source confirms that has not handed over its state says nothing about the one from disk.
func TestFreshness_does_not_take_a_mended_state_for_the_sources(t *testing.T) {
	st := newStatus()
	st.inForce(at(1), lastKnownGood)
	before := time.Unix(1000, 0)
	st.based(before, time.Unix(2000, 0))
	st.confirmed(tiergate.Resume{}, time.Unix(3000, 0), "test")
	if st.fresh.Source != lastKnownGood || !st.fresh.AsOf.Equal(before) {
		t.Errorf("freshness is %+v", st.fresh)
	}
}

// quiet is a source that hands over one state and then confirms it each second.
func quiet(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
	_ = f.Apply(ctx, whole(at(1), flag("a")))
	for backoff.Sleep(ctx, time.Second) {
		f.Confirm(time.Now())
	}
	return ctx.Err()
}

// While nothing changes the age on disk keeps step with the source, without the state being
// written again, so that a process that is killed in an outage knows how old its data is.
func TestAge_on_disk_keeps_step_while_nothing_changes(t *testing.T) {
	dir, copied := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		states := 0
		s := New(Config{Source: &script{calls: []follow{quiet}}, Applier: &memory{}, Name: "test", Dir: dir})
		s.before = func(name string) error {
			if name == "keep previous" {
				states++
			}
			return nil
		}
		stop := start(t, s)
		<-s.Ready()
		time.Sleep(time.Hour + 500*time.Millisecond)
		for _, name := range []string{stateName, keyName, markName, tombsName} { // as a kill would leave them
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(copied, name), data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if states > 1 {
			t.Errorf("the state was written again %d times", states)
		}
		m := &memory{}
		killed := New(Config{Source: gone{}, Applier: m, Name: "test", Dir: copied})
		stopKilled := start(t, killed)
		<-killed.Ready()
		if age := killed.Freshness().Age(time.Now()); age > refreshEvery+time.Second || m.get(flag("a")) == nil {
			t.Errorf("after a kill the state is %v old", age)
		}
		stopKilled()
		stop()
		time.Sleep(time.Hour)
		again := New(Config{Source: gone{}, Applier: &memory{}, Name: "test", Dir: dir})
		stopAgain := start(t, again)
		<-again.Ready()
		if age := again.Freshness().Age(time.Now()); age < time.Hour || age > time.Hour+2*time.Second {
			t.Errorf("an hour after a clean stop the state is %v old", age)
		}
		stopAgain()
	})
}

// The age of a state that is not the one on disk, or whose successor was refused, does not reach the disk.
func TestAge_on_disk_is_that_of_the_state_on_disk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		refused := &memory{refuse: func(r tiergate.Revision) error {
			if r.Resume.Rev == 2 {
				return errors.New("no")
			}
			return nil
		}}
		s := New(Config{Applier: refused, Name: "test", Dir: dir, Patience: 2 * time.Hour, Source: sourceFunc(
			func(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
				_ = f.Apply(ctx, whole(at(1), flag("a")))
				f.Confirm(time.Now())
				time.Sleep(time.Minute)
				_ = f.Apply(ctx, puts(at(2), flag("b")))
				for backoff.Sleep(ctx, time.Second) {
					f.Confirm(time.Now())
				}
				return ctx.Err()
			})})
		stop := start(t, s)
		<-s.Ready()
		time.Sleep(time.Hour)
		stop()
		again := New(Config{Source: gone{}, Applier: &memory{}, Name: "test", Dir: dir})
		stopAgain := start(t, again)
		<-again.Ready()
		if age := again.Freshness().Age(time.Now()); age < 59*time.Minute {
			t.Errorf("the state before the refused one is said to be %v old", age)
		}
		stopAgain()
	})
}

// A file that says of another state how old it is is not believed.
func TestAge_of_another_state_is_not_believed(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, whole(at(1), flag("a")))
	store, err := openStore(dir, nil, noStep, func(p string) { t.Error(p) })
	if err != nil {
		t.Fatal(err)
	}
	defer store.close()
	store.load()
	b, err := store.open(t.Context(), stateName, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.close()
	m := store.mark
	m.AsOf = b.header.AsOf.Add(time.Hour)
	for seq, want := range map[uint64]time.Time{m.Seq: m.AsOf, m.Seq - 1: b.header.AsOf} {
		m.Seq = seq
		if err := store.saveMark(m); err != nil {
			t.Fatal(err)
		}
		again, err := store.open(t.Context(), stateName, 0)
		if err != nil {
			t.Fatal(err)
		}
		again.close()
		if !again.asOf.Equal(want) {
			t.Errorf("with a mark of state %d the age is from %v, want %v", seq, again.asOf, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, markName)); err != nil {
		t.Error(err)
	}
}
