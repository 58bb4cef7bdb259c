package ofrep_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server/ofrep"
)

const quiet = "Flagd-Selector: flagSetId=quiet"

// A bulk answer has each flag of the set once, errors among them, and the set's metadata.
func TestBulk_answers_all_flags_of_the_set(t *testing.T) {
	gen := demo()
	gen.meta = json.RawMessage(`"version":"v1","flagSetId":"quiet","stale":"a lie"`)
	addr := serve(t, appOf(ofrep.Config{Evaluator: fakeOf(gen)}))
	for _, path := range []string{flags, flags + "/", flags + "?x=1"} {
		got := exchange(t, addr, post(path, `{"context":{"targetingKey":"alice"}}`, quiet), 1)[0]
		var body struct {
			Flags    []map[string]any
			Metadata map[string]any
		}
		if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != 200 {
			t.Fatalf("%d %s: %v", got.status, got.body, err)
		}
		if want := map[string]any{"revision": "01234567-7", "version": "v1", "flagSetId": "quiet"}; !cmp.Equal(want, body.Metadata) {
			t.Errorf("metadata is %v, want %v", body.Metadata, want)
		}
		if n := strings.Count(got.body, "flagSetId"); n != 1 {
			t.Errorf("flagSetId is there %d times", n)
		}
		if want := len(demoFlags()) - 1; len(body.Flags) != want {
			t.Errorf("%d flags, want %d", len(body.Flags), want)
		}
		for _, f := range body.Flags {
			need := []string{"key", "reason", "variant", "metadata"}
			if f["key"] == "broken" {
				need = []string{"key", "errorCode", "errorDetails", "metadata"}
			}
			for _, member := range need {
				if _, ok := f[member]; !ok {
					t.Errorf("flag %v lacks %s", f, member)
				}
			}
		}
	}
}

// An answer about all flags tells its revision, and that it is stale, once and beside them: who
// compares a flag with what it was before sees no change where there is none.
func TestBulk_tells_its_revision_beside_the_flags(t *testing.T) {
	evaluator := fakeOf(demo())
	long := func() time.Time { return time.Now().Add(-time.Hour) }
	addr := serve(t, appOf(ofrep.Config{Evaluator: evaluator, StaleAfter: time.Second, AsOf: long}))
	ask := func(revision string) (all string) {
		got := exchange(t, addr, post(flags, `{}`, quiet), 1)[0]
		var body struct {
			Flags    json.RawMessage
			Metadata map[string]any
		}
		if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != 200 {
			t.Fatalf("%d %s: %v", got.status, got.body, err)
		}
		if want := map[string]any{"revision": revision, "stale": true, "version": "v1", "flagSetId": "quiet"}; !cmp.Equal(want, body.Metadata) {
			t.Errorf("beside the flags is %v, want %v", body.Metadata, want)
		}
		return string(body.Flags)
	}
	all := ask("01234567-7")
	for _, want := range []string{
		`{"key":"on","reason":"STATIC","variant":"on","value":true,"metadata":{}}`,
		`{"key":"meta","reason":"STATIC","variant":"on","value":true,"metadata":{"frontier":1,"owner":"web"}}`,
		`{"key":"denied","reason":"TARGETING_MATCH","variant":"off","value":false,"metadata":{"tier":"free","denied":true,"denyReason":"tier","upgrade":"pro"}}`,
		`{"key":"broken","errorCode":"PARSE_ERROR","errorDetails":"the targeting is \"broken\"","metadata":{}}`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("the flags lack %s:\n%s", want, all)
		}
	}
	next := demo()
	next.resume.Rev = 8
	evaluator.gen.Store(next)
	if again := ask("01234567-8"); again != all {
		t.Errorf("another revision of the same flags is told as\n%s\nbefore:\n%s", again, all)
	}
}

// A set that does not exist has no flags, as flagd answers it.
func TestBulk_of_an_unknown_set_is_empty(t *testing.T) {
	addr := serve(t, appOf(ofrep.Config{Evaluator: fakeOf(demo())}))
	got := exchange(t, addr, post(flags, "", "Flagd-Selector: flagSetId=nope"), 1)[0]
	if got.status != 200 || !strings.HasPrefix(got.body, `{"flags":[],"metadata":{`) {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// asker asks for all flags and hands back the tag.
type asker struct {
	t    *testing.T
	addr string
}

func (a asker) ask(body string, headers ...string) answer {
	a.t.Helper()
	return exchange(a.t, a.addr, post(flags, body, append(headers, quiet)...), 1)[0]
}

func (a asker) tag(body string, headers ...string) string {
	a.t.Helper()
	got := a.ask(body, headers...)
	if got.status != 200 || got.header.Get("ETag") == "" {
		a.t.Fatalf("%d %v", got.status, got.header)
	}
	return got.header.Get("ETag")
}

// The tag changes with everything that the answer depends on, and with nothing else.
func TestETag_covers_the_question(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	gen := demo()
	evaluator := fakeOf(gen)
	stale := new(atomic.Bool)
	cfg := ofrep.Config{
		Evaluator: evaluator, StaleAfter: time.Minute, Now: func() time.Time { return now },
		AsOf: func() time.Time {
			if stale.Load() {
				return time.Time{}
			}
			return now
		},
	}
	a := asker{t, serve(t, appOf(cfg))}
	base := a.tag(`{"context":{"targetingKey":"u","plan":"free","n":1}}`)
	for _, same := range []string{
		`{"context":{"targetingKey":"u","plan":"free","n":1}}`,
		` { "x":1, "context" : { "n":1,"plan":"free" , "targetingKey":"\u0075" } } `,
		`{"context":{"plan":"pro","targetingKey":"u","plan":"free","n":1}}`,
	} {
		if got := a.tag(same); got != base {
			t.Errorf("the tag of %s differs", same)
		}
	}
	seen := map[string]string{base: "the base"}
	differs := func(name, tag string) {
		t.Helper()
		if was, ok := seen[tag]; ok {
			t.Errorf("%s has the tag of %s", name, was)
		}
		seen[tag] = name
	}
	for _, other := range []string{
		``, `{"context":{}}`, `{"context":{"targetingKey":"u","plan":"free"}}`, `{"context":{"targetingKey":"u","plan":"pro","n":1}}`,
		`{"context":{"targetingKey":"u","plan":"free","n":1.0}}`, `{"context":{"targetingKey":"u","plan":"free","n":"1"}}`,
		`{"context":{"targetingKey":"u","plan":"free","n":[1]}}`, `{"context":{"targetingKey":"u","plan":"free","n":null}}`,
		`{"context":{"targetingKey":"u","plan":"free","n":true}}`, `{"context":{"targetingKey":"u","plan":"free","n":{"n":1}}}`,
		`{"context":{"targetingKey":"uplan","":"free","n":1}}`, `{"context":{"targetingKey":"u","plan":"free","n":9007199254740993}}`,
		`{"context":{"targetingKey":"u","plan":"free","n":9007199254740992}}`,
	} {
		differs("the context "+other, a.tag(other))
	}
	ask := func() string { return a.tag(`{"context":{"targetingKey":"u","plan":"free","n":1}}`) }
	stale.Store(true)
	differs("stale", ask())
	stale.Store(false)
	for name, change := range map[string]func(*generation){
		"another revision": func(g *generation) { g.resume.Rev = 8 },
		"another epoch":    func(g *generation) { g.resume.Epoch = "0123456799999999" },
		"today":            func(g *generation) { g.steps = tiergate.StepDay },
		"this hour":        func(g *generation) { g.steps = tiergate.StepHour },
	} {
		next := demo()
		change(next)
		evaluator.gen.Store(next)
		differs(name, ask())
	}
	b := asker{t, serve(t, appOf(ofrep.Config{Evaluator: fakeOf(demo()), Version: "v2"}))}
	differs("another version", b.tag(`{"context":{"targetingKey":"u","plan":"free","n":1}}`))
}

// The tag of a set whose answers depend on the clock changes with the step that they depend on.
func TestETag_follows_the_clock(t *testing.T) {
	var now atomic.Pointer[time.Time]
	gen := demo()
	a := asker{t, serve(t, appOf(ofrep.Config{Evaluator: fakeOf(gen), Now: func() time.Time { return *now.Load() }}))}
	at := func(h, m int) string {
		when := time.Date(2026, 3, 4, h, m, 0, 0, time.UTC)
		now.Store(&when)
		return a.tag("")
	}
	for _, tc := range []struct {
		step              tiergate.ClockStep
		sameHour, sameDay bool
		sameForEver       bool
	}{
		{tiergate.StepNever, true, true, true},
		{tiergate.StepDay, true, true, false},
		{tiergate.StepHour, true, false, false},
	} {
		gen.steps = tc.step
		base := at(5, 0)
		if (at(5, 59) == base) != tc.sameHour || (at(23, 59) == base) != tc.sameDay || (at(24, 0) == base) != tc.sameForEver {
			t.Errorf("the tag of step %d does not follow the clock", tc.step)
		}
	}
}

// A caller that has the answer gets 304 without an evaluation, however it lists its tags;
// one that has another answer gets it anew.
func TestNotModified(t *testing.T) {
	gen := demo()
	a := asker{t, serve(t, appOf(ofrep.Config{Evaluator: fakeOf(gen)}))}
	tag := a.tag("{}")
	for _, known := range []string{tag, "W/" + tag, `"x", ` + tag, `W/"x",,W/` + tag + `, "y"`, "*", " * "} {
		before := gen.decided.Load()
		got := a.ask("{}", "If-None-Match: "+known)
		if got.status != 304 || got.body != "" || got.header.Get("ETag") != tag || got.header.Get("Tiergate-Revision") != "01234567-7" {
			t.Errorf("If-None-Match: %s got %+v", known, got)
		}
		if n := gen.decided.Load() - before; n != 0 {
			t.Errorf("If-None-Match: %s evaluated %d flags", known, n)
		}
	}
	if got := a.ask("{}", `If-None-Match: "x"`, "If-None-Match: "+tag); got.status != 304 {
		t.Errorf("a second header line is not read: %d", got.status)
	}
	for _, other := range []string{`"x"`, strings.Trim(tag, `"`), tag[:len(tag)-1], `"x" ` + tag, "", `"`, "W/", strings.ToUpper(tag), `"*"`} {
		if got := a.ask("{}", "If-None-Match: "+other); got.status != 200 {
			t.Errorf("If-None-Match: %s got %d", other, got.status)
		}
	}
	if got := a.ask(`{"context":{"plan":"pro"}}`, "If-None-Match: "+tag); got.status != 200 {
		t.Errorf("another context got %d", got.status)
	}
}

// A caller that was told of another configuration than the one in force never gets 304.
func TestNotModified_never_after_a_differing_event(t *testing.T) {
	addr := serve(t, appOf(ofrep.Config{Evaluator: fakeOf(demo())}))
	tag := asker{t, addr}.tag("{}")
	for query, want := range map[string]int{
		"?flagConfigEtag=01234567-7":         304,
		"?flagConfigEtag=01234567-8":         200,
		"?flagConfigEtag=":                   200,
		"?flagConfigLastModified=1771622898": 200,
		"?other=1":                           304,
	} {
		if got := exchange(t, addr, post(flags+query, "{}", quiet, "If-None-Match: "+tag), 1)[0]; got.status != want {
			t.Errorf("%s got %d, want %d", query, got.status, want)
		}
	}
}

// Where answers depend on the moment, the tag is the body's: a 304 only for equal answers.
func TestETag_of_the_body_when_time_decides(t *testing.T) {
	gen := demo()
	gen.steps = tiergate.StepAlways
	var moment atomic.Int64
	gen.sets["quiet"]["clock"] = func(*tiergate.Request) tiergate.Decision {
		return value(tiergate.Number, "now", string('0'+rune(moment.Load())))
	}
	a := asker{t, serve(t, appOf(ofrep.Config{Evaluator: fakeOf(gen)}))}
	tag := a.tag("{}")
	if got := a.ask("{}", "If-None-Match: "+tag); got.status != 304 || got.body != "" {
		t.Errorf("an equal answer got %d %q", got.status, got.body)
	}
	moment.Add(1)
	if got := a.ask("{}", "If-None-Match: "+tag); got.status != 200 || got.header.Get("ETag") == tag {
		t.Errorf("another answer got %d", got.status)
	}
}

// An answer with an error that may pass has no tag, so that nobody keeps the error.
func TestETag_is_not_given_to_what_may_pass(t *testing.T) {
	gen := demo()
	var well atomic.Bool
	gen.sets["quiet"]["policy"] = func(*tiergate.Request) tiergate.Decision {
		if well.Load() {
			return value(tiergate.Boolean, "on", "true")
		}
		return tiergate.Decision{Reason: tiergate.ReasonError, ErrorCode: tiergate.General, ErrorDetails: "no time", Transient: true}
	}
	a := asker{t, serve(t, appOf(ofrep.Config{Evaluator: fakeOf(gen)}))}
	if got := a.ask("{}"); got.status != 200 || got.header.Get("ETag") != "" {
		t.Errorf("an answer that may pass got %d and the tag %q", got.status, got.header.Get("ETag"))
	}
	well.Store(true)
	if tag := a.tag("{}"); a.ask("{}", "If-None-Match: "+tag).status != 304 {
		t.Error("a lasting answer is not recognized by its tag")
	}
}

// Stale data says so in each answer.
func TestStale_is_said(t *testing.T) {
	addr := serve(t, appOf(ofrep.Config{
		Evaluator: fakeOf(demo()), StaleAfter: time.Second,
		AsOf: func() time.Time { return time.Now().Add(-time.Hour) },
	}))
	for _, path := range []string{flags + "/on", flags + "/nope", flags} {
		if got := exchange(t, addr, post(path, "{}", quiet), 1)[0]; !strings.Contains(got.body, `"stale":true`) {
			t.Errorf("%s does not say stale: %s", path, got.body)
		}
	}
}

// With API keys the caller is the key's team; without a valid one there is no answer.
func TestCredential(t *testing.T) {
	good := &tiergate.Key{ID: "k1", TeamID: "acme"}
	narrow := &tiergate.Key{ID: "k2", TeamID: "globex", Sets: []string{"quiet"}}
	gen := demo()
	gen.sets["quiet"]["key"] = func(r *tiergate.Request) tiergate.Decision {
		return value(tiergate.String, "k", `"`+r.Key.TeamID+`"`)
	}
	addr := serve(t, appOf(ofrep.Config{Evaluator: fakeOf(gen), Credential: func(text string) (*tiergate.Key, error) {
		switch text {
		case "good":
			return good, nil
		case "narrow":
			return narrow, nil
		case "scopeless":
			return nil, tiergate.Errorf(tiergate.Forbidden, "no")
		case "early":
			return nil, tiergate.Errorf(tiergate.Unavailable, "no")
		case "nil":
			return nil, nil
		case "odd":
			return nil, errors.New("secret detail")
		}
		return nil, tiergate.Errorf(tiergate.Unauthorized, "no")
	}}))
	for _, tc := range []struct {
		name, want string
		status     int
		headers    []string
	}{
		{"bearer", `"acme"`, 200, []string{"Authorization: Bearer good", quiet}},
		{"bearer in lower case", `"acme"`, 200, []string{"authorization: bearer  good", quiet}},
		{"no scheme", `"acme"`, 200, []string{"Authorization: good", quiet}},
		{"X-API-Key", `"acme"`, 200, []string{"X-API-Key: good", quiet}},
		{"both, equal", `"acme"`, 200, []string{"Authorization: Bearer good", "X-API-Key: good", quiet}},
		{"the key's only set", `"globex"`, 200, []string{"X-API-Key: narrow"}},
		{"another set", "GENERAL", 403, []string{"X-API-Key: narrow", "Flagd-Selector: flagSetId=default"}},
		{"none", "GENERAL", 401, nil},
		{"unknown", "GENERAL", 401, []string{"X-API-Key: nope"}},
		{"another scheme", "GENERAL", 401, []string{"Authorization: Basic good"}},
		{"both, different", "GENERAL", 401, []string{"Authorization: Bearer good", "X-API-Key: narrow"}},
		{"no scope", "GENERAL", 403, []string{"X-API-Key: scopeless"}},
		{"no keys yet", "PROVIDER_NOT_READY", 503, []string{"X-API-Key: early"}},
		{"no key and no error", "GENERAL", 500, []string{"X-API-Key: nil"}},
		{"a broken resolver", "GENERAL", 500, []string{"X-API-Key: odd"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := exchange(t, addr, post(flags+"/key", `{"context":{"teamId":"other"}}`, tc.headers...), 1)[0]
			if got.status != tc.status || !strings.Contains(got.body, tc.want) || strings.Contains(got.body, "secret") {
				t.Errorf("%d %s", got.status, got.body)
			}
			if tc.status == 401 && got.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("WWW-Authenticate is %q", got.header.Get("WWW-Authenticate"))
			}
			if tc.status != 200 {
				readFailure(t, got)
			}
		})
	}
	a := asker{t, addr}
	if a.tag("{}", "X-API-Key: good") == a.tag("{}", "X-API-Key: narrow") {
		t.Error("two keys share a tag")
	}
}

// A request that demands a revision is answered once it is in force.
func TestMinRevision_waits(t *testing.T) {
	evaluator := fakeOf(demo())
	var looks atomic.Int32
	evaluator.asked = func() {
		if looks.Add(1) == 4 { // while the second request waits
			next := demo()
			next.resume.Rev = 8
			evaluator.gen.Store(next)
		}
	}
	addr := serve(t, appOf(ofrep.Config{Evaluator: evaluator}))
	got := exchange(t, addr, post(flags+"/on", "{}", "Tiergate-Min-Revision: 01234567-6"), 1)[0]
	if got.status != 200 || got.header.Get("Tiergate-Revision") != "01234567-7" {
		t.Errorf("an older revision got %d at %s", got.status, got.header.Get("Tiergate-Revision"))
	}
	got = exchange(t, addr, post(flags+"/on", "{}", "Tiergate-Min-Revision: 01234567-8"), 1)[0]
	if got.status != 200 || got.header.Get("Tiergate-Revision") != "01234567-8" {
		t.Errorf("the next revision got %d at %s", got.status, got.header.Get("Tiergate-Revision"))
	}
}
