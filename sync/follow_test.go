package syncer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tiergate/tiergate"
)

// A panic of the source does not end what answers; the source is asked again from where it was.
func TestSyncer_survives_a_source_that_panics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		src := &script{calls: []follow{
			func(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
				_ = f.Apply(ctx, whole(at(1), &tiergate.Tier{Key: "free"}))
				panic("source")
			},
			func(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
				// In the middle of a revision: it is neither in force nor refused.
				return f.Apply(ctx, tiergate.Revision{Resume: at(2), Changes: func(yield func(tiergate.Change, error) bool) {
					yield(tiergate.PutOf(&tiergate.Tier{Key: "pro"}), nil)
					panic("rows")
				}})
			},
		}}
		s := New(Config{Source: src, Applier: m, Name: "test"})
		stop := start(t, s)
		time.Sleep(time.Minute)
		stop()
		if f := s.Freshness(); f.Refused != "" || m.at != at(1) || m.get(&tiergate.Tier{Key: "free"}) == nil {
			t.Errorf("in force at %v, freshness %+v", m.at, f)
		}
		if asked := src.asked(); len(asked) != 3 || asked[1] != at(1) || asked[2] != (tiergate.Resume{}) {
			t.Errorf("the source was asked from %v", asked)
		}
	})
}

// A panic of the applier is a refusal, after which only a whole state will do.
func TestSyncer_starts_anew_after_an_applier_that_panics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		m.refuse = func(r tiergate.Revision) error {
			if r.Resume.Rev == 2 {
				panic("applier")
			}
			return nil
		}
		src := &script{calls: []follow{
			func(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
				_ = f.Apply(ctx, whole(at(1), &tiergate.Tier{Key: "free"}))
				_ = f.Apply(ctx, puts(at(2), &tiergate.Tier{Key: "pro"}))
				<-ctx.Done()
				return ctx.Err()
			},
			says(whole(at(3), &tiergate.Tier{Key: "pro"})).calls[0],
		}}
		s := New(Config{Source: src, Applier: m, Name: "test"})
		stop := start(t, s)
		if err := s.Wait(t.Context(), at(3)); err != nil && !strings.Contains(err.Error(), "refused: bug: applier") {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		stop()
		if asked := src.asked(); m.at != at(3) || asked[1] != (tiergate.Resume{}) || s.Refused() != 1 {
			t.Errorf("in force at %v; asked from %v; refused %d", m.at, asked, s.Refused())
		}
	})
}

// An applier that says that a revision does not follow what it has is given a whole state.
func TestSyncer_starts_anew_when_a_revision_does_not_follow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{refuse: func(r tiergate.Revision) error {
			if !r.Whole {
				return tiergate.Errorf(tiergate.Conflict, "revision %s does not follow", r.Resume.Revision())
			}
			return nil
		}}
		src := &script{calls: []follow{
			says(whole(at(1)), puts(at(3), flag("a"))).calls[0],
			says(whole(at(3), flag("a"))).calls[0],
		}}
		s := New(Config{Source: src, Applier: m, Name: "test"})
		stop := start(t, s)
		time.Sleep(time.Minute)
		stop()
		if asked := src.asked(); asked[1] != (tiergate.Resume{}) || m.at != at(3) || s.Freshness().Refused != "" {
			t.Errorf("asked from %v, in force %v, %+v", asked, m.at, s.Freshness())
		}
	})
}

// A revision that breaks off in the middle is not applied, not refused, and asked for again.
func TestSyncer_asks_again_for_a_revision_that_broke_off(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		src := &script{calls: []follow{
			func(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
				_ = f.Apply(ctx, whole(at(1), &tiergate.Tier{Key: "free"}))
				return f.Apply(ctx, tiergate.Revision{Resume: at(2), Changes: func(yield func(tiergate.Change, error) bool) {
					yield(tiergate.Change{}, errors.New("connection reset"))
				}})
			},
		}}
		s := New(Config{Source: src, Applier: m, Name: "test"})
		stop := start(t, s)
		time.Sleep(time.Minute)
		stop()
		if asked := src.asked(); m.at != at(1) || asked[1] != at(1) || s.Freshness().Refused != "" {
			t.Errorf("in force at %v; asked from %v; %+v", m.at, asked, s.Freshness())
		}
	})
}

// A source that hangs is told to end and asked anew; meanwhile it does not count as connected.
func TestSyncer_does_not_wait_for_a_silent_source(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &script{calls: []follow{
			says(whole(at(1))).calls[0], // confirms once, then hangs until it is told to end
			says(whole(at(2))).calls[0],
		}}
		s := New(Config{Source: src, Applier: &memory{}, Name: "test", Patience: time.Minute})
		start(t, s)
		<-s.Ready()
		time.Sleep(20 * time.Second)
		if f := s.Freshness(); f.Connected || f.Age(time.Now()) != 20*time.Second {
			t.Errorf("a silent source: %+v", f)
		}
		began := time.Now()
		if err := s.Wait(t.Context(), at(2)); err != nil || time.Since(began) > time.Minute {
			t.Errorf("asked anew after %v: %v", time.Since(began), err)
		}
		if !s.Freshness().Connected {
			t.Error("not connected")
		}
	})
}

// Wait ends with its context, and never waits for a write that changed nothing.
func TestWait_ends_with_its_context(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Source: gone{}, Applier: &memory{}})
		start(t, s)
		if err := s.Wait(t.Context(), tiergate.Resume{}); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Wait(ctx, at(1)); tiergate.CodeOf(err) != tiergate.Unavailable || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait: %v", err)
		}
	})
}

// The age of the data grows whatever the connection does, and never goes back.
func TestFreshness_is_the_age_of_the_data(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &script{calls: []follow{func(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
			f.Confirm(time.Now()) // of nothing
			_ = f.Apply(ctx, whole(at(1)))
			f.Confirm(time.Now())
			time.Sleep(10 * time.Second)
			f.Confirm(time.Now().Add(-20 * time.Second))
			f.Confirm(time.Now().Add(-4 * time.Second))
			<-ctx.Done()
			return ctx.Err()
		}}}
		s := New(Config{Source: src, Applier: &memory{}, Name: "test"})
		if age := s.Freshness().Age(time.Now()); age < 1<<62 {
			t.Errorf("before the first state the age is %v", age)
		}
		start(t, s)
		<-s.Ready()
		time.Sleep(9 * time.Second)
		if age := s.Freshness().Age(time.Now()); age != 9*time.Second {
			t.Errorf("age is %v, want 9s", age)
		}
		time.Sleep(2 * time.Second)
		if age := s.Freshness().Age(time.Now()); age != 5*time.Second {
			t.Errorf("age is %v, want 5s", age)
		}
	})
}

// A source that takes its time to answer does not keep the state on disk from being in force.
func TestRestart_waits_for_the_source_no_longer_than_grace(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, whole(at(1), flag("a")))
	m := &memory{}
	src := &script{} // never says anything
	s := New(Config{Source: src, Applier: m, Name: "test", Dir: dir, Grace: time.Millisecond})
	start(t, s)
	<-s.Ready()
	if s.Freshness().Source != lastKnownGood || m.get(flag("a")) == nil {
		t.Errorf("in force: %+v", s.Freshness())
	}
}

// A state that the applier refuses gives way to the older one, and the source starts anew.
func TestRestart_takes_the_older_state_when_the_newer_is_refused(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, whole(at(1), flag("a")))
	run(t, dir, whole(at(2), flag("b")))
	m := &memory{refuse: func(r tiergate.Revision) error {
		if r.Resume == at(2) && r.Whole {
			return errors.New("the policy does not compile any more")
		}
		return nil
	}}
	src := &script{calls: []follow{
		func(ctx context.Context, from tiergate.Resume, f tiergate.Follower) error {
			if err := f.Apply(ctx, puts(at(3), flag("c"))); !errors.Is(err, errStartAnew) {
				t.Errorf("a change on top of %v: %v", from, err)
			}
			<-ctx.Done()
			return ctx.Err()
		},
		says(puts(at(3), flag("d"))).calls[0],
	}}
	s := New(Config{Source: src, Applier: m, Name: "test", Dir: dir})
	start(t, s)
	if err := s.Wait(t.Context(), at(3)); err != nil {
		t.Fatal(err)
	}
	if asked := src.asked(); asked[0] != at(2) || asked[1] != at(1) || m.get(flag("a")) == nil || m.get(flag("d")) == nil || m.get(flag("c")) != nil {
		t.Errorf("asked from %v; in force %v", asked, m.things)
	}
	if p := strings.Join(s.Problems(), "\n"); !strings.Contains(p, "last-known-good is not used: the policy does not compile any more") {
		t.Errorf("problems are %q", p)
	}
}

// Where the source's first state is refused, the one on disk serves, and the source is asked for a whole state until one is accepted.
func TestRestart_serves_what_is_on_disk_when_the_source_is_refused(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, whole(at(1), flag("a")))
	m := &memory{refuse: func(r tiergate.Revision) error {
		if r.Resume.Rev == 5 {
			return errors.New("the policy does not compile")
		}
		return nil
	}}
	looked, stays := make(chan struct{}), make(chan struct{})
	src := &script{calls: []follow{
		says(whole(at(5), flag("b"))).calls[0],
		func(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
			<-looked
			_ = f.Apply(ctx, whole(at(5), flag("b")))
			close(stays)
			_ = f.Apply(ctx, puts(at(6), flag("c")))
			<-ctx.Done()
			return ctx.Err()
		},
	}}
	s := New(Config{Source: src, Applier: m, Name: "test", Dir: dir, Grace: time.Hour})
	start(t, s)
	<-s.Ready()
	if f := s.Freshness(); f.Source != lastKnownGood || !strings.Contains(f.Refused, "does not compile") || m.get(flag("a")) == nil {
		t.Errorf("in force: %+v, %v", f, m.things)
	}
	close(looked)
	<-stays
	if err := s.Wait(t.Context(), at(6)); err != nil {
		t.Fatal(err)
	}
	if asked := src.asked(); asked[1] != (tiergate.Resume{}) || m.get(flag("a")) != nil || m.get(flag("b")) == nil || m.get(flag("c")) == nil {
		t.Errorf("asked from %v, in force %v", asked, m.things)
	}
}

// What was deleted after the last save stays deleted, and the mended state is not taken for one of the source's.
func TestRestart_keeps_deleted_things_deleted(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, whole(at(1), flag("a"), flag("b")))
	s := New(Config{Source: gone{}, Applier: &memory{}, Dir: dir})
	if err := s.openDisk(context.Background()); err != nil {
		t.Fatal(err)
	}
	kind, name := tiergate.KeyOf(flag("a"))
	if err := s.store.bury(s.seq+1, []tombstone{{seq: s.seq + 1, kind: kind, key: name}}); err != nil {
		t.Fatal(err)
	}
	s.dropBase()
	s.store.close()

	m, s := restart(t, Config{Dir: dir})
	if m.get(flag("a")) != nil || m.get(flag("b")) == nil {
		t.Errorf("in force: %v", m.things)
	}
	if m.at.Revision() == at(1).Revision() || s.from != (tiergate.Resume{}) {
		t.Errorf("the mended state is at %v, and the source is asked from %v", m.at, s.from)
	}
}

// A disk that is full or broken never holds up what is in force, and the problem is named until it is over.
func TestSyncer_serves_although_the_disk_is_broken(t *testing.T) {
	dir := t.TempDir()
	src := &script{}
	released := make(chan struct{})
	src.calls = []follow{func(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
		_ = f.Apply(ctx, whole(at(1), flag("a")))
		for rev := int64(2); rev < 50; rev++ {
			_ = f.Apply(ctx, deletes(at(rev), flag("a")))
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	s := New(Config{Source: src, Applier: &memory{}, Name: "test", Dir: dir})
	s.before = func(string) error {
		<-released // the disk hangs
		return errors.New("input/output error")
	}
	// The key is made before; only saves meet the broken disk.
	if err := os.WriteFile(filepath.Join(dir, keyName), []byte(strings.Repeat("k", 64)), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := start(t, s)
	if err := s.Wait(t.Context(), at(49)); err != nil {
		t.Fatal(err)
	}
	close(released)
	stop()
	if p := s.Problems(); len(p) != 1 || !strings.Contains(p[0], "input/output error") {
		t.Errorf("problems are %q", p)
	}
}

// A key file of the operator's signs; without it, or with a bad one, Run says why in a sentence.
func TestRun_uses_the_operators_key(t *testing.T) {
	dir, keys := t.TempDir(), t.TempDir()
	good := filepath.Join(keys, "good")
	for name, text := range map[string]string{"good": strings.Repeat("k", 32) + "\n", "short": "short"} {
		if err := os.WriteFile(filepath.Join(keys, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := New(Config{Source: says(whole(at(1), flag("a"))), Applier: &memory{}, Name: "test", Dir: dir, KeyFile: good})
	stop := start(t, s)
	<-s.Ready()
	stop()
	if m, _ := restart(t, Config{Dir: dir, KeyFile: good}); m.get(flag("a")) == nil {
		t.Error("the state is not in force with the same key")
	}
	if _, err := os.Stat(filepath.Join(dir, keyName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key was made beside the operator's: %v", err)
	}
	for file, want := range map[string]string{"short": "must hold 32 to 4096 bytes, and holds 5", "missing": "no such file"} {
		err := New(Config{Source: gone{}, Applier: &memory{}, Dir: dir, KeyFile: filepath.Join(keys, file)}).Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with the key file %q: %v, want %q", file, err, want)
		}
	}
}

// Two processes never write into one data directory: the second serves without it, and says so.
func TestRun_leaves_a_data_directory_to_its_first_user(t *testing.T) {
	dir := t.TempDir()
	first := New(Config{Source: says(whole(at(1))), Applier: &memory{}, Name: "test", Dir: dir})
	start(t, first)
	<-first.Ready()
	second := New(Config{Source: says(whole(at(1))), Applier: &memory{}, Name: "test", Dir: dir})
	start(t, second)
	<-second.Ready()
	if p := second.Problems(); len(p) != 1 || !strings.Contains(p[0], "another process uses it") {
		t.Errorf("problems are %q", p)
	}
}
