package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate/internal/clientstest"
)

// clientFlags are flags of all types and kinds in one file.
const clientFlags = `{"flags": {
	"switch":   {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off"},
	"text":     {"state": "ENABLED", "variants": {"a": "first", "b": "größer"}, "defaultVariant": "a"},
	"whole":    {"state": "ENABLED", "variants": {"ten": 10}, "defaultVariant": "ten"},
	"fraction": {"state": "ENABLED", "variants": {"half": 0.5, "less": 0.25}, "defaultVariant": "half"},
	"object":   {"state": "ENABLED", "variants": {"o": {"list": [1, "two", {"three": null}]}}, "defaultVariant": "o"},
	"targeted": {"state": "ENABLED", "variants": {"staff": "in", "others": "out"}, "defaultVariant": "others",
	             "targeting": {"if": [{"ends_with": [{"var": "email"}, "@example.com"]}, "staff", null]}},
	"code":     {"state": "ENABLED", "variants": {"a": "unused"}, "defaultVariant": null},
	"disabled": {"state": "DISABLED", "variants": {"a": "unused"}, "defaultVariant": "a"},
	"astray":   {"state": "ENABLED", "variants": {"a": "unused"}, "defaultVariant": "a", "targeting": {"cat": ["no", "where"]}}
}}`

// A clientQuestion is one that every client asks of clientFlags, and what OpenFeature makes of it.
type clientQuestion struct {
	story string
	kind  string // the type that is asked for
	flag  string
	mine  any // the code default
	want  clientstest.Answer
}

// clientQuestions returns the questions, answered for the variants that the flags "switch",
// "text" and "fraction" have by now.
func clientQuestions(toggle, text, fraction string) []clientQuestion {
	static := func(variant string, values map[string]any) clientstest.Answer {
		return clientstest.Answer{Value: values[variant], Variant: variant, Reason: "STATIC"}
	}
	failed := func(code string) clientstest.Answer {
		return clientstest.Answer{Value: "mine", Reason: "ERROR", ErrorCode: code}
	}
	object := map[string]any{"list": []any{1.0, "two", map[string]any{"three": nil}}}
	return []clientQuestion{
		{"A boolean.", "boolean", "switch", toggle == "off", static(toggle, map[string]any{"on": true, "off": false})},
		{"A string.", "string", "text", "mine", static(text, map[string]any{"a": "first", "b": "größer"})},
		{"A whole number.", "number", "whole", -1, static("ten", map[string]any{"ten": 10.0})},
		{"A fraction.", "number", "fraction", -1, static(fraction, map[string]any{"half": 0.5, "less": 0.25})},
		{"An object.", "object", "object", map[string]any{}, static("o", map[string]any{"o": object})},
		{"Targeted.", "string", "targeted", "mine", clientstest.Answer{Value: "in", Variant: "staff", Reason: "TARGETING_MATCH"}},
		{"No default variant.", "string", "code", "mine", clientstest.Answer{Value: "mine", Reason: "DEFAULT"}},
		{"Disabled.", "string", "disabled", "mine", clientstest.Answer{Value: "mine", Reason: "DISABLED"}},
		{"No such flag.", "string", "unknown", "mine", failed("FLAG_NOT_FOUND")},
		{"A rule that names no variant.", "string", "astray", "mine", failed("GENERAL")},
		{"Another type.", "boolean", "targeted", true, clientstest.Answer{Value: true, Reason: "ERROR", ErrorCode: "TYPE_MISMATCH"}},
	}
}

// A clientStory is what is one provider's own. All of it is told in docs/clients.
type clientStory struct {
	name     string
	keeps    bool              // STATIC answers, which are CACHED from the second time on, and whatever type is asked for
	mistakes map[string]string // flags whose code default it takes for an error, and its code
	events   bool              // it tells of changes
	names    bool              // and of which flags
	away     string            // the error code while there is no sidecar; "": it goes on answering
	lost     string            // the event when the sidecar is gone; "": none
	back     string            // the event when it is there again; "": none
	once     bool              // what fails when it starts is not tried again before its context changes
}

var clientStories = []clientStory{
	{
		name: clientstest.FlagdRPC, keeps: true, events: true, names: true,
		away: "FLAG_NOT_FOUND", lost: "PROVIDER_STALE", back: "PROVIDER_READY",
	},
	{name: clientstest.FlagdInProcess, events: true, names: true, lost: "PROVIDER_STALE", back: "PROVIDER_READY"},
	{name: clientstest.OFREP, mistakes: map[string]string{"code": "GENERAL", "disabled": "GENERAL"}, away: "GENERAL"},
	{
		name: clientstest.FlagdWeb, events: true,
		mistakes: map[string]string{"code": "FLAG_NOT_FOUND", "disabled": "TYPE_MISMATCH", "astray": "FLAG_NOT_FOUND"},
	},
	{
		name: clientstest.OFREPWeb, events: true, names: true,
		lost: "PROVIDER_STALE", back: "PROVIDER_CONFIGURATION_CHANGED", once: true,
	},
}

// Each of the official providers understands every kind of answer, hears of a change, bears that
// the sidecar is killed, and finds the one that starts at its addresses, with what has changed
// meanwhile and what changes later.
func TestClients_of_npm_live_with_a_sidecar(t *testing.T) {
	folder, data, sync := folderOf(t, clientFlags), dataDir(t), freeAddr(t)
	p := onGRPC(t)
	run := func() {
		p = launchOn(t, &program{http: p.http, grpc: p.grpc, ops: p.ops}, data, "sidecar", "--source", "file:"+folder, "--sync-addr", sync)
		p.waitReady(t)
	}
	change := func(from, to string) {
		text, err := os.ReadFile(filepath.Join(folder, "flags.json"))
		if err != nil || strings.Count(string(text), from) != 1 {
			t.Fatalf("%s is not in %s once (%v)", from, text, err)
		}
		save(t, folder, "flags.json", []byte(strings.Replace(string(text), from, to, 1)))
	}
	run()
	clients := map[string]*clientstest.Client{}
	for _, s := range clientStories {
		clients[s.name] = clientstest.Connect(t, s.name, clientstest.Addrs{HTTP: p.http, GRPC: p.grpc, Sync: sync})
	}
	each := func(chapter string, tell func(clientStory, *testing.T, *clientstest.Client)) {
		t.Run(chapter, func(t *testing.T) {
			for _, s := range clientStories {
				t.Run(s.name, func(t *testing.T) { tell(s, t, clients[s.name].In(t)) })
			}
		})
	}
	each("answers", func(s clientStory, t *testing.T, c *clientstest.Client) {
		s.right(t, c, clientQuestions("off", "a", "half"))
		got := c.Ask(clientstest.Question{Type: "boolean", Flag: "text", Fallback: true, Context: alice})
		if confused := got.Value != true; confused != s.keeps {
			t.Errorf("asked for a boolean, it says %v of a string; what is kept has no type, says docs/clients", got.Value)
		}
		if c.Track("exports", alice) {
			t.Error("it sends what is tracked, which docs/clients denies")
		}
	})
	change(`"defaultVariant": "off"`, `"defaultVariant": "on"`)
	each("a change", func(s clientStory, t *testing.T, c *clientstest.Client) {
		s.hears(t, c, "switch")
		s.comesToSay(t, c, clientQuestions("on", "a", "half"))
	})
	p.stop(t, os.Kill)
	each("no sidecar", clientStory.alone)
	change(`"größer"}, "defaultVariant": "a"`, `"größer"}, "defaultVariant": "b"`)
	run()
	each("another sidecar", func(s clientStory, t *testing.T, c *clientstest.Client) {
		if s.back != "" {
			c.Hears(s.back)
		}
		s.comesToSay(t, c, clientQuestions("on", "b", "half"))
		c.Events()
	})
	change(`"defaultVariant": "half"`, `"defaultVariant": "less"`)
	each("a later change", func(s clientStory, t *testing.T, c *clientstest.Client) {
		s.hears(t, c, "fraction")
		s.comesToSay(t, c, clientQuestions("on", "b", "less"))
	})
}

// A client that starts before its sidecar gives code defaults, comes to say what is right, and follows.
func TestClients_of_npm_may_start_before_the_sidecar(t *testing.T) {
	folder, p, sync := folderOf(t, clientFlags), onGRPC(t), freeAddr(t)
	clients := map[string]*clientstest.Client{}
	for _, s := range clientStories {
		clients[s.name] = clientstest.Start(t, s.name, clientstest.Addrs{HTTP: p.http, GRPC: p.grpc, Sync: sync})
	}
	question := clientstest.Question{Type: "string", Flag: "text", Fallback: "mine", Context: alice}
	for _, s := range clientStories {
		if got := clients[s.name].Ask(question); got.Value != "mine" || got.Reason != "ERROR" {
			t.Errorf("without a sidecar %s says %v", s.name, got)
		}
	}
	launchOn(t, p, dataDir(t), "sidecar", "--source", "file:"+folder, "--sync-addr", sync).waitReady(t)
	question.Context = map[string]any{"targetingKey": "bob"}
	for _, s := range clientStories {
		t.Run(s.name, func(t *testing.T) {
			c := clients[s.name].In(t)
			if s.once {
				c.Ask(question) // somebody else signs in
			}
			s.comesToSay(t, c, clientQuestions("off", "a", "half"))
		})
	}
	save(t, folder, "flags.json", []byte(strings.Replace(clientFlags, `"defaultVariant": "off"`, `"defaultVariant": "on"`, 1)))
	for _, s := range clientStories {
		t.Run(s.name+" follows", func(t *testing.T) { s.comesToSay(t, clients[s.name].In(t), clientQuestions("on", "a", "half")) })
	}
}

var alice = map[string]any{"targetingKey": "alice", "email": "alice@example.com"}

// asks asks one question and returns what is to be said and what is.
func (s clientStory) asks(c *clientstest.Client, q clientQuestion) (want, got clientstest.Answer) {
	want = q.want
	if code, ok := s.mistakes[q.flag]; ok {
		want.Reason, want.ErrorCode = "ERROR", code
	}
	got = c.Ask(clientstest.Question{Type: q.kind, Flag: q.flag, Fallback: q.mine, Context: alice})
	if s.keeps && want.Reason == "STATIC" && got.Reason == "CACHED" {
		want.Reason = "CACHED"
	}
	return want, got
}

// right fails the test with what is not as it should be.
func (s clientStory) right(t *testing.T, c *clientstest.Client, questions []clientQuestion) {
	t.Helper()
	for _, q := range questions {
		for range 2 { // the second may come from a cache
			if want, got := s.asks(c, q); !cmp.Equal(want, got) {
				t.Errorf("%s (-want +got):\n%s", q.story, cmp.Diff(want, got))
			}
		}
	}
}

// comesToSay waits until all answers are right.
func (s clientStory) comesToSay(t *testing.T, c *clientstest.Client, questions []clientQuestion) {
	t.Helper()
	asWanted := func(q clientQuestion) bool {
		want, got := s.asks(c, q)
		return cmp.Equal(want, got)
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if !slices.ContainsFunc(questions, func(q clientQuestion) bool { return !asWanted(q) }) {
			break
		}
	}
	s.right(t, c, questions)
}

// hears waits for a client to tell of a change of a flag, if it is one that does.
func (s clientStory) hears(t *testing.T, c *clientstest.Client, flag string) {
	t.Helper()
	if !s.events {
		return
	}
	want := []string{}
	if s.names {
		want = append(want, flag)
	}
	if e := c.Hears("PROVIDER_CONFIGURATION_CHANGED"); !slices.Equal(e.Flags, want) {
		t.Errorf("it is told of changes of %v, want %v", e.Flags, want)
	}
}

// alone is what a client says when the sidecar has been killed: what it knows, or the code default
// in good time.
func (s clientStory) alone(t *testing.T, c *clientstest.Client) {
	t.Helper()
	if s.lost != "" {
		c.Hears(s.lost)
	}
	begin := time.Now()
	questions := clientQuestions("on", "a", "half")
	if s.away == "" {
		s.right(t, c, questions)
	} else {
		want := clientstest.Answer{Value: "mine", Reason: "ERROR", ErrorCode: s.away}
		if _, got := s.asks(c, questions[1]); !cmp.Equal(want, got) {
			t.Errorf("(-want +got):\n%s", cmp.Diff(want, got))
		}
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the answer took %v", took)
	}
	if events := c.Events(); len(events) > 0 {
		t.Logf("events: %v", events)
	}
}
