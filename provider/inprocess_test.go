package provider_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/isolated"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/provider"
	syncer "github.com/tiergate/tiergate/sync"
)

// events are those of a provider by their kind: the SDK keeps no order between them.
type events map[openfeature.EventType]chan openfeature.EventDetails

// watch collects the events of a client's provider from now on.
func watch(c *openfeature.Client) events {
	all := events{}
	for _, kind := range []openfeature.EventType{
		openfeature.ProviderReady, openfeature.ProviderStale, openfeature.ProviderError, openfeature.ProviderConfigChange,
	} {
		to := make(chan openfeature.EventDetails, 1000)
		tell := func(d openfeature.EventDetails) { to <- d }
		all[kind] = to
		c.AddHandler(kind, &tell)
		for len(to) > 0 { // the state that it is in is told at once
			<-to
		}
	}
	return all
}

// next returns the next event of a kind.
func next(t *testing.T, all events, kind openfeature.EventType) openfeature.EventDetails {
	t.Helper()
	select {
	case e := <-all[kind]:
		return e
	case <-time.After(20 * time.Second):
		t.Fatalf("after twenty seconds no %s", kind)
	}
	panic("not reached")
}

func boolOf(t *testing.T, c *openfeature.Client, flag string) openfeature.BooleanEvaluationDetails {
	t.Helper()
	d, _ := c.BooleanValueDetails(t.Context(), flag, false, openfeature.NewEvaluationContext("alice", nil))
	return d
}

// A source that says nothing any more makes the provider STALE, with the reason; it goes on
// deciding, says so in its answers, and is READY again when the source is back.
func TestInProcess_is_stale_while_its_source_is_away(t *testing.T) {
	onItsOwnClock(t, func(t *testing.T) {
		s := newSource()
		p := provider.InProcess(s, provider.Options{})
		go s.demo()
		c := client(t, p)
		events := watch(c)
		if d := boolOf(t, c, "new-dashboard"); !d.Value || d.FlagMetadata["stale"] != nil {
			t.Errorf("at first: %+v", d)
		}
		s.hold(true)
		s.lose <- errBroken
		if e := next(t, events, openfeature.ProviderStale); !strings.Contains(e.Message, errBroken.Error()) {
			t.Errorf("STALE says %q", e.Message)
		}
		if d := boolOf(t, c, "new-dashboard"); !d.Value || d.FlagMetadata["stale"] != true || c.State() != openfeature.StaleState {
			t.Errorf("while stale: %+v in state %s", d, c.State())
		}
		s.hold(false)
		next(t, events, openfeature.ProviderReady)
		if d := boolOf(t, c, "new-dashboard"); !d.Value || d.FlagMetadata["stale"] != nil || c.State() != openfeature.ReadyState {
			t.Errorf("afterwards: %+v in state %s", d, c.State())
		}
	})
}

// The first state is not old because its source has still to say of when it is; one that never says
// so makes the provider STALE as one that was lost does.
func TestInProcess_waits_for_its_source_to_say_how_old_the_first_state_is(t *testing.T) {
	for after, stale := range map[time.Duration]time.Duration{
		3 * time.Second: 3*time.Second + provider.DefaultStaleAfter,
		time.Hour:       provider.DefaultStaleAfter,
	} {
		onItsOwnClock(t, func(t *testing.T) {
			began := time.Now()
			c := client(t, provider.InProcess(hesitant(after), provider.Options{}))
			events := watch(c)
			next(t, events, openfeature.ProviderStale)
			if took := time.Since(began); took < stale || took > stale+2*time.Second {
				t.Errorf("the source says so after %v: STALE after %v, want %v", after, took, stale)
			}
		})
	}
}

// A source that stays away for the grace period makes the provider an ERROR, told once with the age of
// the data; it goes on deciding all the same, and is READY again when the source is back.
func TestInProcess_is_an_error_after_the_grace_period(t *testing.T) {
	for name, tc := range map[string]struct {
		grace, want time.Duration
		says        string
	}{
		"of_a_minute_by_itself": {0, time.Minute, "what is decided is 1m1"},
		"of_ten_if_told_so":     {10 * time.Minute, 10 * time.Minute, "what is decided is 10m1"},
	} {
		t.Run(name, func(t *testing.T) {
			onItsOwnClock(t, func(t *testing.T) {
				s := newSource()
				go s.demo()
				c := client(t, provider.InProcess(s, provider.Options{GracePeriod: tc.grace}))
				events := watch(c)
				s.hold(true)
				await(t, "STALE", func() bool { return c.State() == openfeature.StaleState })
				began := time.Now()
				time.Sleep(tc.want - 2*time.Second)
				if len(events[openfeature.ProviderError]) > 0 || c.State() != openfeature.StaleState {
					t.Errorf("shortly before the end it is %s", c.State())
				}
				e := next(t, events, openfeature.ProviderError)
				if took := time.Since(began).Round(time.Second); took != tc.want || !strings.HasPrefix(e.Message, tc.says) ||
					!strings.Contains(e.Message, " old: nothing was heard of the source") {
					t.Errorf("after %v it says %q", took, e.Message)
				}
				time.Sleep(time.Hour)
				if d := boolOf(t, c, "new-dashboard"); !d.Value || d.FlagMetadata["stale"] != true || c.State() != openfeature.ErrorState {
					t.Errorf("afterwards: %+v in state %s", d, c.State())
				}
				if n := len(events[openfeature.ProviderError]) + len(events[openfeature.ProviderStale]); n > 1 {
					t.Errorf("it is told %d times more", n)
				}
				s.hold(false)
				next(t, events, openfeature.ProviderReady)
				if d := boolOf(t, c, "new-dashboard"); !d.Value || d.FlagMetadata["stale"] != nil || c.State() != openfeature.ReadyState {
					t.Errorf("with its source back: %+v in state %s", d, c.State())
				}
			})
		})
	}
}

// With a grace period that never ends a provider is STALE for as long as its source is away.
func TestInProcess_is_stale_for_ever_if_it_is_told_so(t *testing.T) {
	onItsOwnClock(t, func(t *testing.T) {
		s := newSource()
		go s.demo()
		c := client(t, provider.InProcess(s, provider.Options{GracePeriod: -1}))
		s.hold(true)
		time.Sleep(time.Hour)
		if d := boolOf(t, c, "new-dashboard"); !d.Value || d.FlagMetadata["stale"] != true || c.State() != openfeature.StaleState {
			t.Errorf("after an hour: %+v in state %s", d, c.State())
		}
	})
}

// Each change is told, with the flags whose definitions changed; one of a team or a user, and one
// of everything, without.
func TestInProcess_tells_which_flags_changed(t *testing.T) {
	s := newSource()
	p := provider.InProcess(s, provider.Options{})
	go s.demo()
	c := client(t, p)
	events := watch(c)
	other := boolean("elsewhere", true)
	other.Put.(*tiergate.Flag).Set = "other"
	s.steps <- step{changes: []tiergate.Change{other}}
	s.steps <- step{changes: []tiergate.Change{boolean("b", true), boolean("new-dashboard", false), {Kind: tiergate.KindFlag, Key: "api-access"}}}
	e := next(t, events, openfeature.ProviderConfigChange)
	if want := []string{"api-access", "b", "new-dashboard"}; !slices.Equal(e.FlagChanges, want) || e.EventMetadata["all"] != false ||
		e.EventMetadata["subjects"] != false || e.EventMetadata["revision"] != "fakefake-3" {
		t.Errorf("of flags: %+v", e)
	}
	if d := boolOf(t, c, "new-dashboard"); d.Value || d.FlagMetadata["revision"] != "fakefake-3" {
		t.Errorf("after the event: %+v", d)
	}
	s.steps <- step{changes: []tiergate.Change{tiergate.PutOf(&tiergate.User{ID: "zoe", Tier: "pro"})}}
	if e := next(t, events, openfeature.ProviderConfigChange); len(e.FlagChanges) > 0 || e.EventMetadata["subjects"] != true {
		t.Errorf("of a user: %+v", e)
	}
	s.demo()
	if e := next(t, events, openfeature.ProviderConfigChange); len(e.FlagChanges) > 0 || e.EventMetadata["all"] != true {
		t.Errorf("of everything: %+v", e)
	}
}

// An initialization ends when its context does, with the reason of the source. The provider
// is ready by itself once the source is there, and says so.
func TestInProcess_recovers_from_an_initialization_that_ran_out_of_time(t *testing.T) {
	s := newSource()
	p := provider.InProcess(s, provider.Options{})
	api := isolated.NewAPI()
	c := api.NewClient()
	events := watch(c)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	go func() { s.lose <- errBroken }()
	failed := make(chan error, 1)
	go func() { failed <- p.InitWithContext(ctx, openfeature.EvaluationContext{}) }()
	if err := <-failed; !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errBroken) {
		t.Errorf("Init = %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := api.SetProviderAndWait(ctx, p); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("SetProviderAndWait = %v", err)
	}
	next(t, events, openfeature.ProviderError)
	if d := boolOf(t, c, "new-dashboard"); d.ErrorCode != openfeature.ProviderNotReadyCode {
		t.Errorf("without any flags: %+v", d)
	}
	s.demo()
	next(t, events, openfeature.ProviderReady)
	if d := boolOf(t, c, "new-dashboard"); !d.Value {
		t.Errorf("once the source is there: %+v", d)
	}
	if err := api.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// With a directory a program starts from the last good state while its source is away, STALE.
func TestInProcess_starts_from_the_last_known_good_state(t *testing.T) {
	dir := t.TempDir()
	s := newSource()
	p := provider.InProcess(s, provider.Options{Dir: dir})
	go s.demo()
	if err := p.Init(openfeature.EvaluationContext{}); err != nil {
		t.Fatal(err)
	}
	p.Shutdown()

	again := newSource()
	go func() {
		for range 3 {
			select {
			case again.lose <- errBroken:
			case <-t.Context().Done():
				return
			}
		}
	}()
	c := client(t, provider.InProcess(again, provider.Options{Dir: dir, StaleAfter: time.Millisecond}))
	await(t, "STALE", func() bool { return c.State() == openfeature.StaleState })
	if d := boolOf(t, c, "new-dashboard"); !d.Value || d.FlagMetadata["stale"] != true {
		t.Errorf("from the last known good state: %+v", d)
	}
}

// What can never work ends the initialization at once, with the reason, and is FATAL: a key file that
// cannot be used, a stream of another flag set, a key that would travel in plain text.
func TestInProcess_says_at_once_what_can_never_work(t *testing.T) {
	for name, tc := range map[string]struct {
		source tiergate.Source
		o      provider.Options
		why    string
	}{
		"key_file":    {newSource(), provider.Options{Dir: t.TempDir(), KeyFile: "/does/not/exist"}, "no such file or directory"},
		"another_set": {provider.SyncStream("127.0.0.1:1", provider.StreamOptions{Set: "shop"}), provider.Options{Set: "web"}, `"web" is not what the stream is of, "shop"`},
		"default_set": {provider.SyncStream("127.0.0.1:1", provider.StreamOptions{}), provider.Options{Set: "web"}, "StreamOptions.Set"},
		"plain_text":  {provider.SyncStream("192.0.2.1:1", provider.StreamOptions{Key: "tg_dev_1"}), provider.Options{}, "in plain text"},
	} {
		t.Run(name, func(t *testing.T) {
			api := isolated.NewAPI()
			err := api.SetProviderAndWait(t.Context(), provider.InProcess(tc.source, tc.o))
			if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), tc.why) {
				t.Errorf("Init = %v", err)
			}
			c := api.NewClient()
			if d := boolOf(t, c, "new-dashboard"); d.ErrorCode != openfeature.ProviderFatalCode || c.State() != openfeature.FatalState {
				t.Errorf("%+v in state %s", d, c.State())
			}
			if err := api.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A folder of flag files is a source like any other, and a saved file is a change.
func TestInProcess_of_a_folder(t *testing.T) {
	dir := t.TempDir()
	write := func(variant string) {
		t.Helper()
		text := `{"flags":{"banner":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"` + variant + `"}}}`
		if err := os.WriteFile(dir+"/flags.json", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("off")
	c := client(t, provider.InProcess(syncer.NewFileSource(dir, syncer.FileOptions{}), provider.Options{Name: "file"}))
	events := watch(c)
	if d := boolOf(t, c, "banner"); d.Value || d.ErrorCode != "" {
		t.Errorf("at first: %+v", d)
	}
	write("on")
	if e := next(t, events, openfeature.ProviderConfigChange); !slices.Equal(e.FlagChanges, []string{"banner"}) {
		t.Errorf("the event says %+v", e)
	}
	if d := boolOf(t, c, "banner"); !d.Value {
		t.Errorf("after it: %+v", d)
	}
}

// Any number of goroutines evaluate while the configuration changes and the provider ends and begins.
func TestInProcess_is_safe_for_concurrent_use(t *testing.T) {
	s := newSource()
	p := provider.InProcess(s, provider.Options{})
	go s.demo()
	if err := p.Init(openfeature.EvaluationContext{}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 500 {
				d := p.BooleanEvaluation(context.Background(), "new-dashboard", false, openfeature.FlattenedContext{"targetingKey": "alice", "x": []any{1}})
				if !d.Value || d.FlagMetadata["tier"] != "enterprise" {
					t.Errorf("%+v", d)
					return
				}
			}
		}()
	}
	for i := range 20 {
		s.steps <- step{changes: []tiergate.Change{boolean("b", i%2 == 0)}}
	}
	p.Shutdown()
	go s.demo()
	if err := p.Init(openfeature.EvaluationContext{}); err != nil {
		t.Error(err)
	}
	for range 4 {
		<-done
	}
	p.Shutdown()
}
