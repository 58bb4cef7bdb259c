package flagdapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tiergate/tiergate"
)

// fake is a Watcher whose differences the test names.
type fake struct {
	tiergate.Evaluator // is not asked

	mu    sync.Mutex
	rev   int64
	since map[int64]tiergate.Difference // what is different since a revision
	more  chan struct{}
}

func newFake() *fake { return &fake{rev: 1, more: make(chan struct{})} }

func (f *fake) Generation() tiergate.Generation { return nil }

func (f *fake) Since(from tiergate.Resume, _ tiergate.Audience) (tiergate.Difference, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.since[from.Rev]
	if from.Rev == f.rev {
		d = tiergate.Difference{}
	}
	d.To = tiergate.Resume{Epoch: "e", Rev: f.rev}
	return d, f.more
}

// next puts the next revision in force, which is different from the one before by d.
func (f *fake) next(d tiergate.Difference) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.since = map[int64]tiergate.Difference{f.rev: d}
	f.rev++
	close(f.more)
	f.more = make(chan struct{})
}

// watched follows a fake until the test ends, and returns what is sent: its time since the
// beginning, and how many flags it names.
func watched(t *testing.T, f *fake) func() []string {
	s := &service{}
	s.known.watcher = f
	var mu sync.Mutex
	var sent []string
	began := time.Now()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- s.follow(ctx, func(kind string, data *structpb.Struct) error {
			mu.Lock()
			defer mu.Unlock()
			said := fmt.Sprintf("%v %s", time.Since(began).Round(time.Millisecond), kind)
			if data != nil {
				said += fmt.Sprintf(" %d", len(data.Fields["flags"].GetStructValue().Fields))
			}
			sent = append(sent, said)
			return nil
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the stream ends with %v", err)
		}
	})
	return func() []string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return sent
	}
}

// A stream says that it is there after twenty seconds of silence, and not while it has something to say.
func TestFollow_keeps_alive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		sent := watched(t, f)
		time.Sleep(45 * time.Second)
		f.next(tiergate.Difference{Flags: []tiergate.FlagChange{{Name: "a", Kind: tiergate.FlagUpdated}}})
		time.Sleep(25 * time.Second)
		want := []string{"0s provider_ready", "20s keep_alive", "40s keep_alive", "45s configuration_change 1", "1m5s keep_alive"}
		if diff := cmp.Diff(want, sent()); diff != "" {
			t.Errorf("mismatch (-want +got):\n%s", diff)
		}
	})
}

// What is different about subjects is told at once, then once a second at most, and never lost;
// named flags are not held up by it, and tell of it, too.
func TestFollow_tells_of_subjects_once_a_second(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		sent := watched(t, f)
		sent()
		for range 25 { // in 2.5 seconds
			f.next(tiergate.Difference{Subject: true})
			sent()
			time.Sleep(100 * time.Millisecond)
		}
		f.next(tiergate.Difference{Flags: []tiergate.FlagChange{{Name: "a", Kind: tiergate.FlagUpdated}}})
		time.Sleep(5 * time.Second)
		want := []string{
			"0s provider_ready", "0s configuration_change 0", "1s configuration_change 0", "2s configuration_change 0",
			"2.5s configuration_change 1",
		}
		if diff := cmp.Diff(want, sent()); diff != "" {
			t.Errorf("mismatch (-want +got):\n%s", diff)
		}
	})
}

// A client that is slow to take a message is told once of all that it missed.
func TestFollow_a_slow_client(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := &service{}
		s.known.watcher = f
		ctx, stop := context.WithCancel(t.Context())
		take := make(chan string)
		done := make(chan error)
		go func() {
			done <- s.follow(ctx, func(kind string, data *structpb.Struct) error {
				take <- fmt.Sprint(kind, " ", len(data.GetFields()["flags"].GetStructValue().GetFields()))
				return nil
			})
		}()
		<-take
		f.next(tiergate.Difference{Flags: []tiergate.FlagChange{{Name: "a", Kind: tiergate.FlagUpdated}}})
		synctest.Wait() // it is being sent
		for range 100 {
			f.next(tiergate.Difference{})
		}
		f.mu.Lock()
		f.since = map[int64]tiergate.Difference{2: {Flags: []tiergate.FlagChange{{Name: "b", Kind: tiergate.FlagUpdated}, {Name: "c", Kind: tiergate.FlagDeleted}}}}
		f.mu.Unlock()
		got := []string{<-take, <-take}
		if diff := cmp.Diff([]string{"configuration_change 1", "configuration_change 2"}, got); diff != "" {
			t.Errorf("mismatch (-want +got):\n%s", diff)
		}
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the stream ends with %v", err)
		}
	})
}
