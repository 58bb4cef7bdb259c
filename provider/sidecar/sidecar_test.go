package sidecar_test

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/isolated"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/internal/porttest"
	"github.com/tiergate/tiergate/provider/internal/sdktest"
	"github.com/tiergate/tiergate/provider/sidecar"
)

// flag is a boolean flag for everybody, which is on or off.
func flag(name string, on bool) tiergate.Change {
	f := &tiergate.Flag{
		ID: name, Set: tiergate.DefaultSet, Name: name, Type: tiergate.Boolean, Enabled: true,
		Variants:       map[string]json.RawMessage{"on": json.RawMessage("true"), "off": json.RawMessage("false")},
		DefaultVariant: "on", OffVariant: "off", Rules: tiergate.Rules{Tiers: []string{}, Percentage: 100},
	}
	if !on {
		f.DefaultVariant = "off"
	}
	return tiergate.PutOf(f)
}

// Over a real sidecar, through the SDK, the demo data leads to the decisions that were worked out
// by hand; asked again they are the same, from the cache.
func TestProvider_decides_as_worked_out_by_hand(t *testing.T) {
	for name, o := range map[string]sidecar.Options{"uncached": {MaxEntries: -1}, "cached": {}, "bulk": {Bulk: true}} {
		t.Run(name, func(t *testing.T) {
			p, c := provider(t, serve(t, porttest.Addr(t)).target(), o)
			if o.MaxEntries == 0 {
				following(t, p)
			}
			for again := range 2 {
				conformance.Run(t, func(t *testing.T, tc conformance.Case) conformance.Answer {
					a := sdktest.Ask(t, c, tc)
					if a.Reason == string(openfeature.CachedReason) && o.MaxEntries == 0 {
						if tc.Want.Reason == string(openfeature.StaticReason) {
							a.Tier = tc.Want.Tier // of an answer to everybody no one's tier is kept
						}
						a.Reason = tc.Want.Reason
					} else if again > 0 && o.MaxEntries == 0 && a.Value != nil && tc.Flag != "model-training" {
						t.Errorf("the second answer is not from the cache but %s", a.Reason)
					}
					return a
				})
			}
		})
	}
}

// Each type of the SDK gets what it asks for, and an error otherwise.
func TestProvider_types(t *testing.T) {
	_, c := provider(t, serve(t, porttest.Addr(t), sdktest.Flags()...).target(), sidecar.Options{MaxEntries: -1})
	sdktest.Types(t, c)
}

// What the answers tell beside the value fills the events of the SDK's telemetry.
func TestProvider_metadata(t *testing.T) {
	set := &tiergate.FlagSet{Name: tiergate.DefaultSet, Metadata: map[string]any{"owner": "web"}}
	_, c := provider(t, serve(t, porttest.Addr(t), tiergate.PutOf(set)).target(), sidecar.Options{MaxEntries: -1})
	sdktest.Metadata(t, c, "01234567-1")
}

// A Unix socket is as good as a port.
func TestProvider_over_a_unix_socket(t *testing.T) {
	s := serve(t, "unix:"+filepath.Join(t.TempDir(), "s"))
	p, c := provider(t, s.target(), sidecar.Options{})
	following(t, p)
	if d := ask(t, c, "new-dashboard", "alice"); !d.Value {
		t.Errorf("%+v", d)
	}
}

// An answer is kept for its context, a STATIC one for everybody, and neither is asked for again
// until the sidecar tells that something has changed.
func TestProvider_asks_once_until_something_changes(t *testing.T) {
	s := serve(t, porttest.Addr(t))
	count, client := newCounting(t)
	p, c := provider(t, s.target(), sidecar.Options{HTTP: client})
	following(t, p)
	events := watch(c)
	for range 3 {
		for _, user := range []string{"alice", "bob", "carol"} {
			if d := ask(t, c, "new-dashboard", user); !d.Value {
				t.Errorf("new-dashboard for %s: %+v", user, d)
			}
			if d := ask(t, c, "api-access", user); d.Value != (user != "carol") {
				t.Errorf("api-access for %s: %+v", user, d)
			}
		}
	}
	if static, tiered := count.about("new-dashboard"), count.about("api-access"); static != 1 || tiered != 3 {
		t.Errorf("asked %d times for a static flag and %d times for one by tier, of three users", static, tiered)
	}
	s.change(flag("new-dashboard", false))
	if e := next(t, events, openfeature.ProviderConfigChange); len(e.FlagChanges) != 1 || e.FlagChanges[0] != "new-dashboard" {
		t.Errorf("the event is %+v", e)
	}
	if d := ask(t, c, "new-dashboard", "bob"); d.Value || d.Reason != openfeature.StaticReason {
		t.Errorf("after the change: %+v", d)
	}
	ask(t, c, "api-access", "bob")
	if static, tiered := count.about("new-dashboard"), count.about("api-access"); static != 2 || tiered != 3 {
		t.Errorf("after a change of the first, asked %d times for it and %d times for the other", static, tiered)
	}
}

// A context that is none is refused, also where an answer to everybody is kept.
func TestProvider_refuses_a_context_whatever_is_kept(t *testing.T) {
	p, c := provider(t, serve(t, porttest.Addr(t)).target(), sidecar.Options{})
	following(t, p)
	ask(t, c, "new-dashboard", "alice")
	type id string
	for name, tc := range map[string]struct {
		context openfeature.FlattenedContext
		code    openfeature.ErrorCode
	}{
		"nobody":                   {nil, ""},
		"a user":                   {openfeature.FlattenedContext{"targetingKey": "bob", "teamId": nil, "score": 0.5}, ""},
		"a string by another name": {openfeature.FlattenedContext{"targetingKey": id("bob")}, ""},
		"a user by a number":       {openfeature.FlattenedContext{"targetingKey": 7}, openfeature.InvalidContextCode},
		"a team by a number":       {openfeature.FlattenedContext{"targetingKey": "bob", "teamId": 7}, openfeature.InvalidContextCode},
		"what has no JSON form":    {openfeature.FlattenedContext{"targetingKey": "bob", "x": func() {}}, openfeature.InvalidContextCode},
		"a number that is none":    {openfeature.FlattenedContext{"score": math.NaN()}, openfeature.InvalidContextCode},
	} {
		d := p.BooleanEvaluation(t.Context(), "new-dashboard", false, tc.context)
		r := d.ResolutionDetail()
		if r.ErrorCode != tc.code || tc.code == "" && r.Reason != openfeature.CachedReason || d.Value != (tc.code == "") {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// What changes about a user or a team changes the answers, though no flag did.
func TestProvider_hears_of_changes_about_anybody(t *testing.T) {
	s := serve(t, porttest.Addr(t))
	p, c := provider(t, s.target(), sidecar.Options{})
	following(t, p)
	events := watch(c)
	if d := ask(t, c, "api-access", "carol"); d.Value {
		t.Errorf("on the free tier: %+v", d)
	}
	s.change(tiergate.PutOf(&tiergate.User{ID: "carol", Tier: "pro"}))
	next(t, events, openfeature.ProviderConfigChange)
	if d := ask(t, c, "api-access", "carol"); !d.Value || d.FlagMetadata["tier"] != "pro" {
		t.Errorf("on the pro tier: %+v", d)
	}
}

// Bulk asks for all flags of a user at once; what is left of a limit is asked for alone.
func TestProvider_asks_for_all_flags_at_once(t *testing.T) {
	s := serve(t, porttest.Addr(t))
	count, client := newCounting(t)
	p, c := provider(t, s.target(), sidecar.Options{HTTP: client, Bulk: true})
	following(t, p)
	before := count.about("")
	for range 2 {
		for _, f := range []string{"new-dashboard", "api-access", "white-label", "beta-search"} {
			if d := ask(t, c, f, "alice"); d.ErrorCode != "" {
				t.Errorf("%s: %+v", f, d)
			}
			if n := count.about(f); n > 0 {
				t.Errorf("%s was asked for alone", f)
			}
		}
	}
	if n := count.about("") - before; n != 1 {
		t.Errorf("all flags were asked for %d times", n)
	}
	for range 2 {
		if d := ask(t, c, "model-training", "alice"); !d.Value || d.FlagMetadata["remaining"] != 100.0 {
			t.Errorf("a metered flag: %+v", d)
		}
	}
	if n := count.about("model-training"); n != 2 {
		t.Errorf("a metered flag was asked for %d times", n)
	}
	if d := ask(t, c, "nope", "alice"); d.ErrorCode != openfeature.FlagNotFoundCode {
		t.Errorf("an unknown flag: %+v", d)
	}
}

// Many who ask the same at the same time ask once.
func TestProvider_asks_once_for_all_who_wait(t *testing.T) {
	f := newFake(t)
	f.hold("slow")
	p, _ := provider(t, f.url, sidecar.Options{Timeout: 20 * time.Second})
	following(t, p)
	var asking sync.WaitGroup
	for range 50 {
		asking.Go(func() {
			d := p.BooleanEvaluation(t.Context(), "slow", false, openfeature.FlattenedContext{"targetingKey": "alice"})
			if !d.Value {
				t.Errorf("%+v", d)
			}
		})
	}
	await(t, "the question has arrived", func() bool { return f.asked("slow") == 1 })
	f.release("slow")
	asking.Wait()
	if n := f.asked("slow"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// Who asks after a change is not told what was asked before it: the question under way is left to
// those who wait for it already, and another one is asked, once for all who ask now.
func TestProvider_asks_again_after_a_change(t *testing.T) {
	f := newFake(t)
	p, c := provider(t, f.url, sidecar.Options{Timeout: 20 * time.Second})
	following(t, p)
	events := watch(c)
	f.hold("slow")
	var asking sync.WaitGroup
	asks := func() {
		if d := ask(t, c, "slow", "alice"); !d.Value {
			t.Errorf("%+v", d)
		}
	}
	asking.Go(asks)
	await(t, "the first question has arrived", func() bool { return f.asked("slow") == 1 })
	f.events <- "data: {\"type\":\"refetchEvaluation\",\"etag\":\"epoch-2\",\"flags\":[\"slow\"]}\n\n"
	next(t, events, openfeature.ProviderConfigChange)
	for range 10 {
		asking.Go(asks)
	}
	await(t, "the second question has arrived", func() bool { return f.asked("slow") == 2 })
	f.release("slow")
	asking.Wait()
	if d := ask(t, c, "slow", "alice"); d.Reason != openfeature.CachedReason || f.asked("slow") != 2 {
		t.Errorf("asked %d times, then %+v", f.asked("slow"), d)
	}
}

// While the sidecar is away what is known goes on, STALE, and what is not is an error at once; when
// it is back the provider says READY and that all may have changed, and answers are new.
func TestProvider_goes_on_while_the_sidecar_is_away(t *testing.T) {
	s := serve(t, porttest.Addr(t))
	p, c := provider(t, s.target(), sidecar.Options{})
	following(t, p)
	events := watch(c)
	ask(t, c, "new-dashboard", "alice")
	ask(t, c, "api-access", "alice")

	s.down()
	next(t, events, openfeature.ProviderStale)
	for _, f := range []string{"new-dashboard", "api-access"} {
		if d := ask(t, c, f, "alice"); !d.Value || d.Reason != "STALE" || d.FlagMetadata["stale"] != true {
			t.Errorf("%s while the sidecar is away: %+v", f, d)
		}
	}
	began := time.Now()
	if d := ask(t, c, "white-label", "alice"); d.Value || d.ErrorCode != openfeature.GeneralCode || time.Since(began) > 2*time.Second {
		t.Errorf("what is not known, after %v: %+v", time.Since(began), d)
	}

	s.change(flag("new-dashboard", false))
	s.up()
	next(t, events, openfeature.ProviderReady)
	if e := next(t, events, openfeature.ProviderConfigChange); e.EventMetadata["all"] != true || e.EventMetadata["revision"] != "01234567-2" {
		t.Errorf("the event of the recovery is %+v", e)
	}
	if d := ask(t, c, "new-dashboard", "alice"); d.Value || d.Reason != openfeature.StaticReason {
		t.Errorf("once it is back: %+v", d)
	}
	following(t, p)
	if c.State() != openfeature.ReadyState {
		t.Errorf("the state is %s", c.State())
	}
}

// Once it is known that the sidecar is away, nobody waits for it: what is not known is an error
// without a question, though packets to it are dropped and each question takes its whole time.
func TestProvider_nobody_waits_for_a_sidecar_that_is_away(t *testing.T) {
	s := serve(t, porttest.Addr(t))
	count, client := newCounting(t)
	p, c := provider(t, s.target(), sidecar.Options{HTTP: client, GracePeriod: -1, Timeout: time.Second})
	following(t, p)
	events := watch(c)
	if d := ask(t, c, "new-dashboard", "alice"); !d.Value {
		t.Fatalf("before: %+v", d)
	}
	count.cut.Store(true)
	ask(t, c, "api-access", "alice") // finds it out
	next(t, events, openfeature.ProviderStale)
	for range 20 {
		if d := ask(t, c, "white-label", "alice"); d.ErrorCode != openfeature.GeneralCode {
			t.Errorf("what is not known: %+v", d)
		}
		if d := ask(t, c, "new-dashboard", "alice"); d.Reason != "STALE" {
			t.Errorf("what is known: %+v", d)
		}
	}
	if n := count.about("white-label"); n != 0 {
		t.Errorf("%d of twenty waited for a sidecar that is away", n)
	}
	count.cut.Store(false)
	next(t, events, openfeature.ProviderReady)
	if d := ask(t, c, "white-label", "alice"); d.ErrorCode != "" {
		t.Errorf("once it is back: %+v", d)
	}
}

// A sidecar that hangs is found out also by a program whose questions are all answered by what is kept,
// though its event stream is still connected.
func TestProvider_finds_out_a_sidecar_that_hangs(t *testing.T) {
	f := newFake(t)
	p, err := sidecar.New(f.url, sidecar.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.LookEvery(100 * time.Millisecond)
	c := clientOf(t, p)
	following(t, p)
	events := watch(c)
	ask(t, c, "x", "alice")
	f.hold(look)
	next(t, events, openfeature.ProviderStale)
	if d := ask(t, c, "x", "alice"); !d.Value || d.Reason != "STALE" {
		t.Errorf("what is kept: %+v", d)
	}
	f.release(look)
	next(t, events, openfeature.ProviderReady)
}

// After the grace period old answers are not used any more, and the provider is in ERROR.
func TestProvider_gives_up_old_answers_after_a_while(t *testing.T) {
	s := serve(t, porttest.Addr(t))
	p, c := provider(t, s.target(), sidecar.Options{GracePeriod: time.Second})
	following(t, p)
	events := watch(c)
	s.change(flag("b", true))
	next(t, events, openfeature.ProviderConfigChange) // events are told now: none is for a while after the beginning
	if d := ask(t, c, "new-dashboard", "alice"); !d.Value {
		t.Fatalf("before: %+v", d)
	}
	s.down()
	next(t, events, openfeature.ProviderStale)
	next(t, events, openfeature.ProviderError)
	if d := ask(t, c, "new-dashboard", "alice"); d.Value || d.ErrorCode != openfeature.GeneralCode || !strings.Contains(d.ErrorMessage, "not used any more") {
		t.Errorf("after the grace period: %+v", d)
	}
	s.up()
	next(t, events, openfeature.ProviderReady)
	if d := ask(t, c, "new-dashboard", "alice"); !d.Value {
		t.Errorf("once it is back: %+v", d)
	}
}

// A provider that was initialized before its sidecar was there is ready when that is, by itself.
func TestProvider_recovers_from_an_initialization_that_ran_out_of_time(t *testing.T) {
	s := serve(t, porttest.Addr(t))
	s.down()
	p, err := sidecar.New(s.target(), sidecar.Options{})
	if err != nil {
		t.Fatal(err)
	}
	api := isolated.NewAPI()
	c := api.NewClient()
	events := watch(c)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := api.SetProviderAndWait(ctx, p); err == nil {
		t.Fatal("it is ready without a sidecar")
	}
	next(t, events, openfeature.ProviderError)
	if d := ask(t, c, "new-dashboard", "alice"); d.ErrorCode == "" {
		t.Errorf("without a sidecar: %+v", d)
	}
	s.up()
	next(t, events, openfeature.ProviderReady)
	if d := ask(t, c, "new-dashboard", "alice"); !d.Value {
		t.Errorf("with one: %+v", d)
	}
	if err := api.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := p.ShutdownWithContext(t.Context()); err != nil {
		t.Errorf("a second shutdown: %v", err)
	}
	if d := p.BooleanEvaluation(t.Context(), "new-dashboard", false, nil); d.ResolutionDetail().ErrorCode == "" {
		t.Errorf("after the shutdown: %+v", d)
	}
}

// What was kept before a shutdown is not given away by a life that begins later, however long after:
// nobody knows how old it is.
func TestProvider_forgets_at_the_shutdown(t *testing.T) {
	f := newFake(t)
	p, err := sidecar.New(f.url, sidecar.Options{})
	if err != nil {
		t.Fatal(err)
	}
	alice := openfeature.FlattenedContext{"targetingKey": "alice"}
	if err := p.InitWithContext(t.Context(), openfeature.EvaluationContext{}); err != nil {
		t.Fatal(err)
	}
	following(t, p)
	if d := p.BooleanEvaluation(t.Context(), "x", false, alice); !d.Value || p.Kept() != 1 {
		t.Errorf("%+v, %d answers are kept", d, p.Kept())
	}
	p.Shutdown()
	f.answer(func(w http.ResponseWriter, _ string) bool { w.WriteHeader(http.StatusBadGateway); return true })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := p.InitWithContext(ctx, openfeature.EvaluationContext{}); err == nil {
		t.Error("it is ready without a sidecar")
	}
	defer p.Shutdown()
	if d := p.BooleanEvaluation(t.Context(), "x", false, alice); d.Value || d.ResolutionDetail().ErrorCode == "" {
		t.Errorf("in a later life: %+v", d)
	}
}

// A program's own HTTP client is left as it is: others may send with it.
func TestProvider_closes_no_connections_of_others(t *testing.T) {
	f := newFake(t)
	count, client := newCounting(t)
	p, err := sidecar.New(f.url, sidecar.Options{HTTP: client})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.InitWithContext(t.Context(), openfeature.EvaluationContext{}); err != nil {
		t.Fatal(err)
	}
	p.Shutdown()
	if count.closed.Load() {
		t.Error("idle connections were closed")
	}
}

// Any number of goroutines ask while the sidecar restarts again and again; each gets an answer
// that was true once, or an error, and soon.
func TestProvider_is_safe_for_concurrent_use(t *testing.T) {
	s := serve(t, porttest.Addr(t))
	p, _ := provider(t, s.target(), sidecar.Options{Bulk: true, MaxEntries: 20})
	following(t, p)
	done := make(chan struct{})
	var asking sync.WaitGroup
	for n := range 4 {
		asking.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				user := []string{"alice", "bob", "carol"}[(i+n)%3]
				began := time.Now()
				d := p.BooleanEvaluation(t.Context(), "white-label", false, openfeature.FlattenedContext{"targetingKey": user})
				if r := d.ResolutionDetail(); r.ErrorCode == "" && d.Value != (user == "alice") || time.Since(began) > 5*time.Second {
					t.Errorf("%s after %v: %+v", user, time.Since(began), d)
					return
				}
			}
		})
	}
	for range 3 {
		s.change(flag("b", true))
		s.down()
		s.up()
		following(t, p)
	}
	close(done)
	asking.Wait()
}

// A program may have replaced net/http's own transport, to trace what it sends or to send nothing:
// a provider has one of its own all the same.
func TestNew_in_a_program_with_another_default_transport(t *testing.T) {
	f := newFake(t)
	before := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = before })
	http.DefaultTransport = &counting{} // which would panic if it were used
	p, c := provider(t, f.url, sidecar.Options{})
	following(t, p)
	if d := ask(t, c, "x", "alice"); !d.Value {
		t.Errorf("%+v", d)
	}
}

// A target that is none, and options that do not go together, are errors of New.
func TestNew_refuses(t *testing.T) {
	for _, target := range []string{"127.0.0.1:8016", "ftp://host", "http://", "unix:", "http://user:password@host", "http://host/?a=b"} {
		if _, err := sidecar.New(target, sidecar.Options{}); tiergate.CodeOf(err) != tiergate.Invalid {
			t.Errorf("New(%q) = %v", target, err)
		}
	}
	if _, err := sidecar.New("unix:/s", sidecar.Options{HTTP: http.DefaultClient}); err == nil {
		t.Error("a socket with a client that does not dial it")
	}
	if _, err := sidecar.New("", sidecar.Options{HTTP: &http.Client{Timeout: time.Minute}}); tiergate.CodeOf(err) != tiergate.Invalid {
		t.Errorf("a client that ends event streams: %v", err)
	}
	for _, o := range []sidecar.Options{{Timeout: -1}, {InitTimeout: -1}, {TrackQueue: -1}, {Set: "shop!"}} {
		if _, err := sidecar.New("", o); tiergate.CodeOf(err) != tiergate.Invalid {
			t.Errorf("New with %+v = %v", o, err)
		}
	}
	if _, err := sidecar.New("", sidecar.Options{GracePeriod: -1, MaxEntries: -1, MaxBytes: -1}); err != nil {
		t.Errorf("what is negative for a reason: %v", err)
	}
}

// A key goes in plain text to this machine, and to another one only where that was allowed.
func TestNew_keeps_a_key_from_the_network(t *testing.T) {
	for target, want := range map[string]bool{
		"": true, "http://localhost:8016": true, "http://127.0.0.9:8016": true, "http://[::1]:8016": true, "unix:/s": true,
		"https://flags.internal": true, "http://flags.internal:8016": false, "http://10.0.0.1:8016": false, "http://0.0.0.0:8016": false,
		"http://localhost.example:8016": false,
	} {
		if _, err := sidecar.New(target, sidecar.Options{Key: "tg_dev_1"}); (err == nil) != want {
			t.Errorf("New(%q) with a key = %v", target, err)
		}
		if _, err := sidecar.New(target, sidecar.Options{Key: "tg_dev_1", Insecure: true}); err != nil {
			t.Errorf("New(%q) with a key that may be read: %v", target, err)
		}
		if _, err := sidecar.New(target, sidecar.Options{}); err != nil {
			t.Errorf("New(%q) without a key: %v", target, err)
		}
	}
}

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
