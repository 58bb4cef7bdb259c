package flagdapi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tiergate/tiergate"
	evaluationv1 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
)

// fake is a Lister whose differences the test names.
type fake struct {
	tiergate.Evaluator // is not asked

	mu    sync.Mutex
	rev   int64
	since map[int64]tiergate.Difference // what is different since a revision
	more  chan struct{}
	names []string           // of the flags of each set
	sets  []string           // that there are
	steps tiergate.ClockStep // on which their answers depend
}

func newFake() *fake { return &fake{rev: 1, more: make(chan struct{})} }

func (f *fake) Generation() tiergate.Generation {
	f.mu.Lock()
	defer f.mu.Unlock()
	return undecided{steps: f.steps, sets: f.sets}
}

func (f *fake) Names(string) iter.Seq[string] { return slices.Values(f.names) }

// undecided is a Generation that decides nothing.
type undecided struct {
	tiergate.Generation
	steps tiergate.ClockStep
	sets  []string
}

func (s undecided) Steps(string) tiergate.ClockStep { return s.steps }
func (s undecided) HasSet(set string) bool          { return slices.Contains(s.sets, set) }

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

func updated(flags ...string) (d tiergate.Difference) {
	for _, name := range flags {
		d.Flags = append(d.Flags, tiergate.FlagChange{Name: name, Kind: tiergate.FlagUpdated})
	}
	return d
}

func serviceOf(f *fake) *service {
	s := &service{cfg: Config{Now: time.Now}}
	s.known.watcher = f
	return s
}

// stream is a ServerStream whose messages go to the test.
type stream struct {
	grpc.ServerStream
	ctx  context.Context
	send func(*evaluationv1.EventStreamResponse)
}

func (s *stream) Context() context.Context { return s.ctx }

func (s *stream) SendMsg(m any) error {
	s.send(m.(*evaluationv1.EventStreamResponse))
	return nil
}

// said is a message as kind and how many flags it names.
func said(m *evaluationv1.EventStreamResponse) string {
	if m.Data == nil {
		return m.Type
	}
	return m.Type + " " + strconv.Itoa(len(m.Data.Fields["flags"].GetStructValue().Fields))
}

// A watch is a stream of a service.
type watch struct {
	mu   sync.Mutex
	sent []string // each with its time since the beginning
	all  []*evaluationv1.EventStreamResponse
	err  error // how it ended
}

// watched follows a service until the test ends.
func watched(t *testing.T, s *service, md ...string) *watch {
	w, began := &watch{}, time.Now()
	ctx, stop := context.WithCancel(metadata.NewIncomingContext(t.Context(), metadata.Pairs(md...)))
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := s.follow(&stream{ctx: ctx, send: func(m *evaluationv1.EventStreamResponse) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.all = append(w.all, m)
			w.sent = append(w.sent, fmt.Sprint(time.Since(began).Round(time.Millisecond), " ", said(m)))
		}})
		w.mu.Lock()
		defer w.mu.Unlock()
		w.err = err
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return w
}

// wants compares what was sent.
func (w *watch) wants(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if diff := cmp.Diff(want, w.sent); diff != "" || w.err != nil {
		t.Errorf("mismatch (-want +got), end %v:\n%s", w.err, diff)
	}
}

// A stream says that it is there after twenty seconds of silence, and not while it has something to say.
func TestFollow_keeps_alive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w := watched(t, serviceOf(f))
		time.Sleep(45 * time.Second)
		f.next(updated("a"))
		time.Sleep(25 * time.Second)
		w.wants(t, "0s provider_ready", "20s keep_alive", "40s keep_alive", "45s configuration_change 1", "1m5s keep_alive")
	})
}

// What is different about subjects is told at once, then once a second at most, and never lost;
// named flags are not held up by it, and tell of it, too.
func TestFollow_tells_of_subjects_once_a_second(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w := watched(t, serviceOf(f))
		synctest.Wait()
		for range 25 { // in 2.5 seconds
			f.next(tiergate.Difference{Subject: true})
			time.Sleep(100 * time.Millisecond)
		}
		f.next(updated("a"))
		time.Sleep(5 * time.Second)
		w.wants(t, "0s provider_ready", "0s configuration_change 0", "1s configuration_change 0", "2s configuration_change 0",
			"2.5s configuration_change 1")
	})
}

// What is due at the same moment is told once.
func TestFollow_tells_of_subjects_once_when_the_clock_turns_too(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which begins at midnight
		f := newFake()
		f.steps = tiergate.StepHour
		time.Sleep(time.Hour - 1100*time.Millisecond)
		w := watched(t, serviceOf(f))
		time.Sleep(100 * time.Millisecond)
		for range 2 { // the second has to wait for the hour
			f.next(tiergate.Difference{Subject: true})
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		w.wants(t, "0s provider_ready", "100ms configuration_change 0", "1.1s configuration_change 0")
	})
}

// A client that is slow to take a message is told once of all that it missed.
func TestFollow_a_slow_client(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		ctx, stop := context.WithCancel(t.Context())
		take := make(chan string)
		done := make(chan error)
		go func() {
			done <- serviceOf(f).follow(&stream{ctx: ctx, send: func(m *evaluationv1.EventStreamResponse) { take <- said(m) }})
		}()
		<-take
		f.next(updated("a"))
		time.Sleep(time.Second) // it is being sent
		for range 100 {
			f.next(tiergate.Difference{})
		}
		f.mu.Lock()
		f.since = map[int64]tiergate.Difference{2: updated("b", "c")}
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

// A client that lost its stream keeps answers before it has the next: that begins with the flags
// that changed in the last half minute. What is different about subjects is no matter to it.
func TestFollow_begins_with_what_changed_recently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := serviceOf(f)
		s.known.answered() // somebody was answered of the first state …
		f.next(updated("a", "b"))
		s.known.answered() // … and of the second
		time.Sleep(20 * time.Second)
		f.next(updated("b", "c"))
		f.next(tiergate.Difference{Subject: true})
		f.since[2] = updated("b", "c")
		time.Sleep(5 * time.Second)
		watched(t, s).wants(t, "0s provider_ready", "0s configuration_change 3")
		time.Sleep(6 * time.Second)
		watched(t, s).wants(t, "0s provider_ready", "0s configuration_change 2")
		time.Sleep(25 * time.Second)
		watched(t, s).wants(t, "0s provider_ready")
	})
}

// When every flag became different recently a stream begins with all names, also of those that are gone.
func TestFollow_begins_with_all_after_all_changed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.names = []string{"a", "b"}
		s := serviceOf(f)
		s.known.answered()
		f.names = []string{"b", "c"}
		f.next(tiergate.Difference{All: true})
		time.Sleep(29 * time.Second)
		watched(t, s).wants(t, "0s provider_ready", "0s configuration_change 3")
		time.Sleep(31 * time.Second)
		watched(t, s).wants(t, "0s provider_ready")
	})
}

// More flags than can be named end the streams that begin in the ten seconds after they all
// changed, once they are ready: their clients drop what they keep. Later ones last.
func TestFollow_ends_soon_after_too_many_changed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		for i := range maxNamed + 1 {
			f.names = append(f.names, strconv.Itoa(i))
		}
		s := serviceOf(f)
		before := watched(t, s)
		synctest.Wait()
		f.next(tiergate.Difference{All: true})
		time.Sleep(5 * time.Second)
		soon := watched(t, s)
		time.Sleep(6 * time.Second)
		watched(t, s).wants(t, "0s provider_ready")
		for _, w := range []*watch{before, soon} {
			if len(w.sent) != 1 || status.Code(w.err) != codes.Unavailable {
				t.Errorf("a stream has sent %v and ended with %v", w.sent, w.err)
			}
		}
	})
}

// What was deleted and cannot be named ends streams, also those that begin soon after: their clients
// would keep answers about it. Names that nobody can be missing any more make room.
func TestFollow_ends_where_deleted_flags_cannot_be_named(t *testing.T) {
	numbered := func(from, to int) (names []string) {
		for i := from; i < to; i++ {
			names = append(names, strconv.Itoa(i))
		}
		return names
	}
	for name, tc := range map[string]struct {
		before, after []string
		ends          bool
	}{
		"all but a few of too many":           {numbered(0, maxNamed+1), numbered(0, 3), true},
		"as many as can be named, for others": {numbered(0, 3000), numbered(3000, 6000), true},
		"few, for others":                     {numbered(0, 1000), numbered(1000, 2000), false},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			f.names = tc.before
			s := serviceOf(f)
			first := watched(t, s)
			synctest.Wait()
			f.names = tc.after
			f.next(tiergate.Difference{All: true})
			time.Sleep(5 * time.Second)
			for _, w := range []*watch{first, watched(t, s)} {
				synctest.Wait()
				w.mu.Lock()
				if ended := status.Code(w.err) == codes.Unavailable; ended != tc.ends {
					t.Errorf("%s: a stream has sent %v and ended with %v", name, w.sent, w.err)
				}
				w.mu.Unlock()
			}
			time.Sleep(6 * time.Second)
			if last := watched(t, s); tc.ends {
				last.wants(t, "0s provider_ready")
			}
		})
	}
}

// Flags that come and go, each for a while, end no stream however many there were.
func TestFollow_has_room_for_flags_that_come_and_go(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.names = []string{"stays"}
		s := serviceOf(f)
		w := watched(t, s)
		for round := range 10 {
			var made, gone tiergate.Difference
			for i := range 1000 {
				name := fmt.Sprint(round, " ", i)
				made.Flags = append(made.Flags, tiergate.FlagChange{Name: name, Kind: tiergate.FlagWritten})
				gone.Flags = append(gone.Flags, tiergate.FlagChange{Name: name, Kind: tiergate.FlagDeleted})
			}
			for _, d := range []tiergate.Difference{made, {All: true}, gone} {
				time.Sleep(time.Minute)
				f.next(d)
			}
		}
		time.Sleep(time.Second)
		w.tells(t, "30m0s configuration_change 1000")
	})
}

// Where the policy reads the clock, a stream tells when its step turns, although nothing is put in
// force, and names no flag.
func TestFollow_tells_of_the_clock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which begins at midnight
		f := newFake()
		f.steps = tiergate.StepHour
		s := serviceOf(f)
		time.Sleep(59*time.Minute + 50*time.Second)
		w := watched(t, s)
		time.Sleep(15 * time.Second)
		w.wants(t, "0s provider_ready", "10s configuration_change 0")
		time.Sleep(time.Hour)
		w.tells(t, "1h0m10s configuration_change 0")
		f.mu.Lock()
		f.steps = tiergate.StepNever
		f.mu.Unlock()
		f.next(updated("a"))
		time.Sleep(2 * time.Hour)
		w.tells(t, "1h0m15s configuration_change 1")
	})
}

// tells compares the last message that was no sign of life.
func (w *watch) tells(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := slices.DeleteFunc(slices.Clone(w.sent), func(m string) bool { return strings.HasSuffix(m, " keep_alive") })
	if last := sent[len(sent)-1]; last != want || w.err != nil {
		t.Errorf("it tells %s, want %s; end %v", last, want, w.err)
	}
}

// Streams of the same sets are told in the same message, which is made once, whoever looks in between.
func TestFollow_shares_messages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := serviceOf(f)
		var web, app []*watch
		for range 20 {
			web = append(web, watched(t, s, "flagd-selector", "flagSetId=web"))
			app = append(app, watched(t, s, "flagd-selector", "flagSetId=app"))
		}
		synctest.Wait()
		f.next(updated("a"))
		time.Sleep(time.Second)
		for _, group := range [][]*watch{web, app} {
			for _, w := range group {
				if w.wants(t, "0s provider_ready", w.lastOf(t)); w.all[1] != group[0].all[1] {
					t.Fatal("a message was made twice")
				}
			}
		}
		if web[0].all[1] == app[0].all[1] {
			t.Error("streams of two sets have one message")
		}
	})
}

// lastOf returns the second message, which names one flag.
func (w *watch) lastOf(t *testing.T) string {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sent) != 2 || said(w.all[1]) != "configuration_change 1" {
		t.Fatalf("it was told %v", w.sent)
	}
	return w.sent[1]
}

// Many streams are told over a while and not in one moment.
func TestFollow_spreads_what_all_are_told(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 400
		f := newFake()
		s := serviceOf(f)
		var mu sync.Mutex
		var times []time.Duration
		var began time.Time
		for range n {
			go func() {
				_ = s.follow(&stream{ctx: t.Context(), send: func(m *evaluationv1.EventStreamResponse) {
					if m.Data == nil {
						return
					}
					mu.Lock()
					defer mu.Unlock()
					times = append(times, time.Since(began))
				}})
			}()
		}
		synctest.Wait()
		mu.Lock()
		began = time.Now()
		mu.Unlock()
		f.next(updated("a"))
		time.Sleep(time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(times)
		if len(times) != n || times[n/4] < 3*time.Millisecond || times[n/2] < 7*time.Millisecond || times[n-1] > 20*time.Millisecond {
			t.Errorf("%d are told, a quarter after %v, a half after %v, all after %v", len(times), times[n/4], times[n/2], times[n-1])
		}
	})
}

// What streams need is forgotten with the last of them, also of sets that there never were; and a
// set that callers asked about once it has been gone for a while.
func TestKnown_forgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &serviceOf(newFake()).known
		k.answered()
		a, b, all := k.enter([]string{"invented"}), k.enter([]string{"invented"}), k.enter(nil)
		if a != b || a == all {
			t.Fatal("streams of the same sets are no group")
		}
		k.leave(a)
		if k.sets["invented"] == nil {
			t.Error("a set is forgotten while a stream tells of it")
		}
		k.leave(b)
		k.leave(all)
		if len(k.sets) != 1 || len(k.groups) != 0 || k.streams.Load() != 0 {
			t.Errorf("without streams there are %v and %v", k.sets, k.groups)
		}
		var there undecided
		for day := range 100 { // each with a set of its own
			set := "day" + strconv.Itoa(day)
			there.sets = []string{set}
			k.asks(set, there)
			if asked := k.setsOf(nil); !slices.Contains(asked, set) || len(asked) > 4 || len(k.sets) != len(asked) {
				t.Fatalf("day %d: %v are told of, %d sets are known", day, asked, len(k.sets))
			}
			time.Sleep(24 * time.Hour)
		}
		k.asks("nothing", there)
		if asked := k.setsOf(nil); slices.Contains(asked, "nothing") {
			t.Errorf("%v are told of", asked)
		}
	})
}

// A set that was gone for a moment counts as gone from when it goes again.
func TestKnown_forgets_what_has_been_gone_all_the_time(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		k := &serviceOf(f).known
		k.answered()
		there := func(asked string, sets ...string) {
			f.mu.Lock()
			f.sets = sets
			f.mu.Unlock()
			f.next(updated("a"))
			k.answered()
			k.asks(asked, f.Generation())
		}
		there("comes and goes", "comes and goes")
		there("new", "new")
		there("new", "new", "comes and goes")
		time.Sleep(time.Hour)
		there("newer", "new", "newer")
		if asked := k.setsOf(nil); !slices.Contains(asked, "comes and goes") {
			t.Errorf("a set that has just gone is forgotten: %v", asked)
		}
	})
}
