package sidecar_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/porttest"
	"github.com/tiergate/tiergate/provider/sidecar"
)

// A sidecar that answers too late costs no more than the timeout, or the caller's own deadline; what
// is kept is answered at once meanwhile.
func TestProvider_a_slow_sidecar(t *testing.T) {
	f := newFake(t)
	p, c := provider(t, f.url, sidecar.Options{Timeout: time.Second})
	following(t, p)
	if d := ask(t, c, "known", "alice"); !d.Value {
		t.Fatalf("%+v", d)
	}
	f.hold("slow")
	f.hold("known")
	began := time.Now()
	if d := ask(t, c, "slow", "alice"); d.ErrorCode != openfeature.GeneralCode || time.Since(began) < 900*time.Millisecond || time.Since(began) > 5*time.Second {
		t.Errorf("after %v: %+v", time.Since(began), d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	d, err := c.BooleanValueDetails(ctx, "slow", false, openfeature.NewEvaluationContext("bob", nil))
	if err == nil || !strings.Contains(d.ErrorMessage, "deadline exceeded") {
		t.Errorf("with a deadline: %+v", d)
	}
	if d := ask(t, c, "known", "alice"); !d.Value || d.Reason != openfeature.CachedReason {
		t.Errorf("what is known: %+v", d)
	}
	if c.State() != openfeature.ReadyState {
		t.Errorf("the state is %s", c.State())
	}
}

// What comes back that is no answer is an error that says what it is, and is not kept.
func TestProvider_answers_that_are_none(t *testing.T) {
	f := newFake(t)
	p, c := provider(t, f.url, sidecar.Options{})
	following(t, p)
	problem := `{"key":"x","errorCode":"%s","errorDetails":"so it is","metadata":{}}`
	for _, tc := range []struct {
		status     int
		body, code string
		says       string
	}{
		{200, `<html>`, "GENERAL", "not a sidecar's"},
		{200, `{}`, "GENERAL", "not a sidecar's"},
		{200, `{"key":"x","reason":"TARGETING_MATCH","value":"on","metadata":null}`, "TYPE_MISMATCH", "not a boolean"},
		{200, `{"key":"x","reason":"DISABLED","metadata":{}}`, "", ""},
		{200, `{"key":"x","reason":"DEFAULT","value":null}`, "", ""},
		{400, fmt.Sprintf(problem, "PARSE_ERROR"), "PARSE_ERROR", "so it is"},
		{400, fmt.Sprintf(problem, "TARGETING_KEY_MISSING"), "TARGETING_KEY_MISSING", "so it is"},
		{404, fmt.Sprintf(problem, "FLAG_NOT_FOUND"), "FLAG_NOT_FOUND", "so it is"},
		{404, `404 page not found`, "GENERAL", "not a sidecar's"},
		{401, ``, "GENERAL", "refuses the API key"},
		{403, `{}`, "GENERAL", "refuses the API key"},
		{500, fmt.Sprintf(problem, "GENERAL"), "GENERAL", "so it is"},
		{301, ``, "GENERAL", "not a sidecar's"},
		{429, ``, "GENERAL", "cannot answer now"},
		{503, fmt.Sprintf(problem, "PROVIDER_NOT_READY"), "PROVIDER_NOT_READY", "cannot answer now"},
		{408, ``, "GENERAL", "not a sidecar's"},
		{200, `{"key":"x","reason":"STATIC","value":` + strings.Repeat(" ", 1<<20) + `true}`, "GENERAL", "larger than"},
	} {
		f.answer(func(w http.ResponseWriter, flag string) bool {
			if flag == "x" {
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.body)
			}
			return flag == "x"
		})
		d, err := c.BooleanValueDetails(t.Context(), "x", true, openfeature.NewEvaluationContext(fmt.Sprint(tc), nil))
		if string(d.ErrorCode) != tc.code || !strings.Contains(d.ErrorMessage, tc.says) || (err == nil) != (tc.code == "") || !d.Value {
			t.Errorf("%d %.60s: %+v, want %s and %q", tc.status, tc.body, d, tc.code, tc.says)
		}
	}
	f.answer(nil)
	if d := ask(t, c, "x", "alice"); !d.Value || d.ErrorCode != "" {
		t.Errorf("an answer again: %+v", d)
	}
}

// An answer is kept for as long as the sidecar says: not at all, for some time, or until it tells
// that something has changed. What tells of a limit, and what is stale, is not kept.
func TestProvider_keeps_answers_as_long_as_it_may(t *testing.T) {
	for name, tc := range map[string]struct {
		control, metadata string
		want              int // of three questions
	}{
		"until_a_change":     {"", `{}`, 1},
		"not_at_all":         {"no-store", `{}`, 3},
		"private_and_no_age": {"private, max-age=0", `{}`, 3},
		"malformed":          {"max-age=soon", `{}`, 3},
		"for_an_hour":        {"private, max-age=3600", `{}`, 1},
		"metered":            {"", `{"limit":5}`, 3},
		"stale":              {"", `{"stale":true}`, 3},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.answer(func(w http.ResponseWriter, flag string) bool {
				if flag == "" || flag == look {
					return false
				}
				if tc.control != "" {
					w.Header().Set("Cache-Control", tc.control)
				}
				fmt.Fprintf(w, `{"key":%q,"reason":"TARGETING_MATCH","variant":"on","value":true,"metadata":%s}`, flag, tc.metadata)
				return true
			})
			p, c := provider(t, f.url, sidecar.Options{})
			following(t, p)
			for range 3 {
				ask(t, c, "x", "alice")
			}
			if n := f.asked("x"); n != tc.want {
				t.Errorf("asked %d times, want %d", n, tc.want)
			}
		})
	}
}

// What an answer about all flags tells beside them holds for each of them.
func TestProvider_tells_of_each_flag_what_holds_for_all(t *testing.T) {
	f := newFake(t)
	f.answer(func(w http.ResponseWriter, flag string) bool {
		if flag == "" {
			fmt.Fprint(w, `{"flags":[{"key":"x","reason":"TARGETING_MATCH","variant":"on","value":true,"metadata":{"tier":"pro"}}],`+
				`"metadata":{"revision":"epoch-3","stale":true,"owner":"web"},"eventStreams":[{"type":"sse","endpoint":{"requestUri":"/events"}}]}`)
		}
		return flag == ""
	})
	p, c := provider(t, f.url, sidecar.Options{Bulk: true, Set: "mobile"})
	following(t, p)
	d := ask(t, c, "x", "alice")
	want := openfeature.FlagMetadata{"tier": "pro", "revision": "epoch-3", "version": "epoch-3", "stale": true, "flagSetId": "mobile"}
	if diff := cmp.Diff(want, d.FlagMetadata); diff != "" || !d.Value {
		t.Errorf("%+v (-want +got):\n%s", d, diff)
	}
	if n := f.asked("x"); n != 0 {
		t.Errorf("the flag was asked for by itself %d times", n)
	}
}

// A second is over when it is over.
func TestProvider_keeps_answers_no_longer_than_they_hold(t *testing.T) {
	f := newFake(t)
	f.answer(func(w http.ResponseWriter, flag string) bool {
		w.Header().Set("Cache-Control", "private, max-age=1")
		return false
	})
	p, c := provider(t, f.url, sidecar.Options{})
	following(t, p)
	for range 3 {
		ask(t, c, "x", "alice")
	}
	if n := f.asked("x"); n > 2 {
		t.Errorf("asked %d times", n)
	}
	before := f.asked("x")
	await(t, "the answer is asked for again", func() bool { ask(t, c, "x", "alice"); return f.asked("x") > before })
}

// An event that names flags drops those; one that names none drops everything. An answer that
// was on its way meanwhile is not kept.
func TestProvider_events_drop_what_they_concern(t *testing.T) {
	f := newFake(t)
	p, c := provider(t, f.url, sidecar.Options{})
	following(t, p)
	events := watch(c)
	for _, name := range []string{"a", "b"} {
		ask(t, c, name, "alice")
		ask(t, c, name, "bob")
	}
	f.events <- "id: epoch-1\r\nevent: message\r\ndata: {\"type\":\"refetchEvaluation\",\r\ndata: \"etag\":\"epoch-1\",\"flags\":[\"a\"]}\r\n\r\n"
	if e := next(t, events, openfeature.ProviderConfigChange); len(e.FlagChanges) != 1 || e.FlagChanges[0] != "a" || p.Kept() != 2 {
		t.Errorf("%+v, and %d answers are kept", e, p.Kept())
	}
	f.events <- ":\n\n: a comment\n\ndata: {\"type\":\"somethingElse\"}\n\ndata: no JSON\n\n"
	f.hold("slow")
	answered := make(chan openfeature.BooleanEvaluationDetails)
	go func() { answered <- ask(t, c, "slow", "alice") }()
	await(t, "the question has arrived", func() bool { return f.asked("slow") == 1 })
	f.events <- "data: {\"type\":\"refetchEvaluation\",\"etag\":\"epoch-2\"}\n\n"
	if e := next(t, events, openfeature.ProviderConfigChange); e.FlagChanges != nil || e.EventMetadata["revision"] != "epoch-2" || p.Kept() != 0 {
		t.Errorf("%+v, and %d answers are kept", e, p.Kept())
	}
	f.release("slow")
	if d := <-answered; !d.Value || p.Kept() != 0 {
		t.Errorf("%+v, and %d answers are kept", d, p.Kept())
	}
}

// Behind one address there may be several sidecars: an answer of one that has not heard yet of what
// another has told is not kept.
func TestProvider_keeps_no_answer_that_is_older_than_what_was_told(t *testing.T) {
	f := newFake(t)
	f.answer(func(w http.ResponseWriter, flag string) bool {
		w.Header().Set("Tiergate-Revision", map[string]string{"behind": "epoch-1", "level": "epoch-2", "other": "history-9"}[flag])
		return false
	})
	p, c := provider(t, f.url, sidecar.Options{})
	following(t, p)
	events := watch(c)
	f.events <- "data: {\"type\":\"refetchEvaluation\",\"etag\":\"epoch-2\"}\n\n"
	next(t, events, openfeature.ProviderConfigChange)
	for name, want := range map[string]int{"behind": 2, "level": 1, "other": 2} {
		ask(t, c, name, "alice")
		ask(t, c, name, "alice")
		if n := f.asked(name); n != want {
			t.Errorf("%s was asked for %d times, want %d", name, n, want)
		}
	}
}

// A stream that ends is connected again at once, without anybody being told, when the sidecar is there.
func TestProvider_a_stream_that_ends_is_connected_again(t *testing.T) {
	f := newFake(t)
	p, c := provider(t, f.url, sidecar.Options{})
	following(t, p)
	for range 3 {
		f.events <- ""
		await(t, "the stream has ended and is connected again", func() bool {
			select {
			case f.events <- ":\n\n":
				return p.Follows()
			default:
				return false
			}
		})
	}
	if c.State() != openfeature.ReadyState {
		t.Errorf("the state is %s", c.State())
	}
}

// Without an event stream nothing is kept, and everything is answered.
func TestProvider_without_an_event_stream(t *testing.T) {
	f := newFake(t)
	f.events = nil
	p, c := provider(t, f.url, sidecar.Options{})
	for range 3 {
		if d := ask(t, c, "x", "alice"); !d.Value || d.Reason != "TARGETING_MATCH" {
			t.Errorf("%+v", d)
		}
	}
	if f.asked("x") != 3 || p.Kept() != 0 {
		t.Errorf("asked %d times, %d are kept", f.asked("x"), p.Kept())
	}
}

// The API key and the set go with every question, and the key with nothing else: the address of an
// event stream has a token of its own.
func TestProvider_says_who_asks(t *testing.T) {
	f := newFake(t)
	p, c := provider(t, f.url, sidecar.Options{Key: "tg_dev_1", Set: "shop"})
	following(t, p)
	ask(t, c, "x", "alice")
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.seen {
		if h.Get("Authorization") != "Bearer tg_dev_1" || h.Get("Flagd-Selector") != "flagSetId=shop" || h.Get("Content-Type") != "application/json" {
			t.Errorf("a question has the header %v", h)
		}
	}
	if len(f.opened) != 1 || strings.Contains(f.opened[0], "tg_dev_1") {
		t.Errorf("the event stream was asked for with %q", f.opened)
	}
}

// However many questions are not answered, the sidecar is looked at once a second: with an event
// stream, without one, and while it has no room for one.
func TestProvider_looks_at_a_busy_sidecar_once_a_second(t *testing.T) {
	for name, prepare := range map[string]func(*fake){
		"stream": func(*fake) {}, "no_stream": func(f *fake) { f.events = nil }, "no_room": func(f *fake) { f.full = true },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			prepare(f)
			f.answer(func(w http.ResponseWriter, flag string) bool {
				if flag == "busy" {
					w.WriteHeader(http.StatusTooManyRequests)
				}
				return flag == "busy"
			})
			began := time.Now()
			p, c := provider(t, f.url, sidecar.Options{})
			if name == "stream" {
				following(t, p)
			}
			await(t, "it has been looked at for what was asked", func() bool {
				ask(t, c, "busy", "alice")
				return f.asked("busy") > 200 && f.asked(look) > 1
			})
			if n, most := f.asked(look), 2+int(time.Since(began)/time.Second); n > most {
				t.Errorf("after %v and %d questions it was looked at %d times", time.Since(began), f.asked("busy"), n)
			}
			if c.State() != openfeature.ReadyState {
				t.Errorf("the state is %s", c.State())
			}
		})
	}
}

// A look at a sidecar costs the least of its answers: all flags are asked for once, to find the event
// stream, however often something changes and is looked at.
func TestProvider_looks_cost_little(t *testing.T) {
	s := serve(t, porttest.Addr(t))
	count, client := newCounting(t)
	p, err := sidecar.New(s.target(), sidecar.Options{HTTP: client})
	if err != nil {
		t.Fatal(err)
	}
	p.LookEvery(20 * time.Millisecond)
	c := clientOf(t, p)
	following(t, p)
	ask(t, c, "new-dashboard", "alice")
	for _, tier := range []string{"pro", "enterprise", "free"} {
		s.change(tiergate.PutOf(&tiergate.User{ID: "carol", Tier: tier}))
		before := count.about(look)
		await(t, "it was looked at again", func() bool { return count.about(look) > before+3 })
	}
	if n := count.about(""); n != 1 {
		t.Errorf("all flags were asked for %d times", n)
	}
	if c.State() != openfeature.ReadyState {
		t.Errorf("the state is %s", c.State())
	}
}

// All flags of a large set may take longer to come than a question may: the provider is ready
// meanwhile, and finds the event stream with the first time that it asks.
func TestProvider_waits_longer_for_all_flags_than_for_one(t *testing.T) {
	f := newFake(t)
	f.hold("")
	f.hold("slow")
	p, c := provider(t, f.url, sidecar.Options{Timeout: time.Second})
	await(t, "all flags are asked for", func() bool { return f.asked("") == 1 })
	if d := ask(t, c, "x", "alice"); !d.Value {
		t.Errorf("meanwhile: %+v", d)
	}
	if d := ask(t, c, "slow", "alice"); d.ErrorCode != openfeature.GeneralCode { // which lasts as long as it may
		t.Errorf("what is not answered: %+v", d)
	}
	f.release("")
	following(t, p)
	if n := f.asked(""); n != 1 {
		t.Errorf("all flags were asked for %d times", n)
	}
}

// While there is no event stream the provider looks for one, which costs no more than that nothing
// has changed; it follows it when there is one.
func TestProvider_looks_for_an_event_stream(t *testing.T) {
	f := newFake(t)
	events := f.events
	f.events = nil
	p, err := sidecar.New(f.url, sidecar.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.LookEvery(20 * time.Millisecond)
	clientOf(t, p)
	await(t, "it has looked five times", func() bool { return f.known() >= 5 })
	if n := f.asked("") - f.known(); n > 2 { // one may be under way
		t.Errorf("all flags were told %d times", n)
	}
	f.mu.Lock()
	f.events = events
	f.mu.Unlock()
	following(t, p)
}

// A search for the event stream that fails is logged with why, and comes again soon, but not when
// the answer was too large: it will be again, after as many bytes.
func TestProvider_a_search_that_fails(t *testing.T) {
	for name, tc := range map[string]struct {
		body, says string
		soon       bool
	}{
		"nonsense":  {"<html>", "not a sidecar's", true},
		"too_large": {strings.Repeat(" ", 64<<20+1), "too large", false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.answer(func(w http.ResponseWriter, flag string) bool {
				if flag == "" {
					_, _ = io.WriteString(w, tc.body) // which may not be read to its end
				}
				return flag == ""
			})
			logged := new(lines)
			_, c := provider(t, f.url, sidecar.Options{Log: slog.New(slog.NewTextHandler(logged, nil))})
			await(t, "the search has failed", func() bool { return strings.Contains(logged.text(), "is not found") })
			if !strings.Contains(logged.text(), tc.says) {
				t.Errorf("the log does not say why: %s", logged.text())
			}
			if tc.soon {
				await(t, "it comes again", func() bool { return f.asked("") > 3 })
				return
			}
			time.Sleep(time.Second)
			if n := f.asked(""); n != 1 {
				t.Errorf("all flags were asked for %d times within a second", n)
			}
			if d := ask(t, c, "x", "alice"); !d.Value {
				t.Errorf("meanwhile: %+v", d)
			}
		})
	}
}

// A search for the event stream that does not come to its end, because the provider is shut down or
// the sidecar is not there any more, says nothing about the stream.
func TestProvider_a_search_that_is_broken_off(t *testing.T) {
	for name, off := range map[string]func(f *fake, p *sidecar.Provider){
		"shutdown": func(_ *fake, p *sidecar.Provider) { p.Shutdown() },
		"away":     func(f *fake, _ *sidecar.Provider) { f.hold(look) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.hold("")
			logged := new(lines)
			p, err := sidecar.New(f.url, sidecar.Options{Timeout: 50 * time.Millisecond, Log: slog.New(slog.NewTextHandler(logged, nil))})
			if err != nil {
				t.Fatal(err)
			}
			p.LookEvery(20 * time.Millisecond)
			if err := p.Init(openfeature.EvaluationContext{}); err != nil {
				t.Fatal(err)
			}
			defer p.Shutdown()
			await(t, "all flags are asked for", func() bool { return f.asked("") == 1 })
			off(f, p)
			if name == "away" {
				await(t, "the sidecar is not there", func() bool { return strings.Contains(logged.text(), "does not answer") })
			}
			if text := logged.text(); strings.Contains(text, "is not found") {
				t.Errorf("the log says %s", text)
			}
		})
	}
}

// While the sidecar says that its own data are old, the provider is STALE and says so of what it
// has kept, which goes on; once they are new it is READY, and what was kept is as it was.
func TestProvider_a_sidecar_whose_data_are_old(t *testing.T) {
	f := newFake(t)
	f.age(true)
	p, err := sidecar.New(f.url, sidecar.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.LookEvery(20 * time.Millisecond)
	c := clientOf(t, p) // is initialized all the same
	following(t, p)
	tells := func(state openfeature.State) {
		t.Helper()
		await(t, "the SDK says "+string(state), func() bool { return c.State() == state })
	}
	tells(openfeature.StaleState)
	f.age(false)
	tells(openfeature.ReadyState)
	ask(t, c, "x", "alice")
	for range 3 {
		f.age(true)
		tells(openfeature.StaleState)
		if d := ask(t, c, "x", "alice"); !d.Value || d.Reason != openfeature.CachedReason || d.FlagMetadata["stale"] != true {
			t.Errorf("while its data are old: %+v", d)
		}
		f.age(false)
		tells(openfeature.ReadyState)
		if d := ask(t, c, "x", "alice"); !d.Value || d.Reason != openfeature.CachedReason || d.FlagMetadata["stale"] != nil {
			t.Errorf("once they are new: %+v", d)
		}
	}
	if n := f.asked("x"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// All flags at once that may not be kept are not asked for again with each flag: each is then asked
// for alone.
func TestProvider_does_not_ask_for_all_flags_that_may_not_be_kept(t *testing.T) {
	for name, tc := range map[string]struct{ control, about string }{
		"no_store": {"no-store", `{}`}, "no_time": {"private, max-age=0", `{}`}, "stale": {"", `{"stale":true}`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.answer(func(w http.ResponseWriter, flag string) bool {
				w.Header().Set("Cache-Control", tc.control)
				if flag == "" {
					fmt.Fprintf(w, `{"flags":[{"key":"a","reason":"TARGETING_MATCH","variant":"on","value":true}],"metadata":%s,`+
						`"eventStreams":[{"type":"sse","endpoint":{"requestUri":"/events"}}]}`, tc.about)
				}
				return flag == ""
			})
			p, c := provider(t, f.url, sidecar.Options{Bulk: true})
			following(t, p)
			before := f.asked("")
			for _, user := range []string{"alice", "bob"} {
				for _, name := range []string{"a", "b", "c", "d", "a"} {
					if d := ask(t, c, name, user); !d.Value {
						t.Errorf("%s: %+v", name, d)
					}
				}
			}
			if n := f.asked("") - before; n != 2 {
				t.Errorf("all flags were asked for %d times for two users", n)
			}
			if f.asked("a") != 2 || f.asked("d") != 2 {
				t.Errorf("asked for one flag %d times, for another %d", f.asked("a"), f.asked("d"))
			}
		})
	}
}

// While a sidecar restarts, what is in front of it may answer in its place with anything: what is kept
// goes on, STALE, and is not given up before the grace period is over.
func TestProvider_somebody_else_answers_for_a_while(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
	}{
		"internal_error": {500, `{"detail":"internal error"}`},
		"not_found":      {404, `default backend - 404`},
		"redirect":       {302, ``},
		"timeout":        {408, ``},
		"page":           {200, `<html>back soon</html>`},
		"huge":           {404, strings.Repeat("x", 2<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			p, c := provider(t, f.url, sidecar.Options{Timeout: 10 * time.Second})
			following(t, p)
			events := watch(c)
			ask(t, c, "x", "alice")
			f.answer(func(w http.ResponseWriter, _ string) bool {
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.body)
				return true
			})
			f.events <- ""
			next(t, events, openfeature.ProviderStale)
			if d := ask(t, c, "x", "alice"); !d.Value || d.Reason != "STALE" || d.FlagMetadata["stale"] != true {
				t.Errorf("what is kept: %+v", d)
			}
			if d := ask(t, c, "y", "alice"); d.Value || d.ErrorCode != openfeature.GeneralCode {
				t.Errorf("what is not: %+v", d)
			}
			f.answer(nil)
			next(t, events, openfeature.ProviderReady)
		})
	}
}

// A sidecar that refuses the key, or all questions, is an error at once, whatever is kept, and no
// answer is given away: who asks is told why.
func TestProvider_is_refused(t *testing.T) {
	for _, tc := range []struct {
		status    int
		body, why string
	}{
		{http.StatusUnauthorized, ``, "refuses the API key"},
		{http.StatusBadRequest, `{"errorCode":"GENERAL","errorDetails":"there is no such set"}`, "there is no such set"},
	} {
		refused(t, tc.status, tc.body, tc.why)
	}
}

func refused(t *testing.T, status int, body, why string) {
	t.Helper()
	f := newFake(t)
	p, c := provider(t, f.url, sidecar.Options{Key: "tg_dev_1"})
	following(t, p)
	events := watch(c)
	ask(t, c, "x", "alice")
	f.answer(func(w http.ResponseWriter, _ string) bool {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
		return true
	})
	f.events <- ""
	next(t, events, openfeature.ProviderError)
	if d := ask(t, c, "x", "alice"); d.Value || !strings.Contains(d.ErrorMessage, why) {
		t.Errorf("%d: %+v", status, d)
	}
	f.answer(nil)
	next(t, events, openfeature.ProviderReady)
}
