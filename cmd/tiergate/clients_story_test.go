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
	"github.com/tiergate/tiergate/internal/porttest"
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
	"astray":   {"state": "ENABLED", "variants": {"a": "unused"}, "defaultVariant": "a", "targeting": {"cat": ["no", "where"]}},
	"broken":   {"state": "ENABLED", "variants": {"a": "unused"}, "defaultVariant": "a", "targeting": {"no_such_operator": []}}
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
		{"A rule that cannot be used.", "string", "broken", "mine", failed("PARSE_ERROR")},
		{"Another type.", "boolean", "targeted", true, clientstest.Answer{Value: true, Reason: "ERROR", ErrorCode: "TYPE_MISMATCH"}},
	}
}

// failed is the code default "mine", and an error.
func failed(code string) clientstest.Answer {
	return clientstest.Answer{Value: "mine", Reason: "ERROR", ErrorCode: code}
}

// A clientStory is what is one provider's own. All of it is told in docs/clients.
type clientStory struct {
	name   string
	keeps  bool                          // STATIC answers, which are CACHED from the second time on, and whatever type is asked for
	odd    map[string]clientstest.Answer // flags of which it says something else, and what
	nobody clientstest.Answer            // what it says of "targeted" for a targetingKey that is not a string
	events bool                          // it tells of changes
	names  bool                          // and of which flags
	away   string                        // the error code while there is no sidecar; "": it goes on answering
	lost   string                        // the event when the sidecar is gone; "": none
	back   string                        // the event when it is there again; "": none
	once   bool                          // what fails when it starts is not tried again before its context changes
}

var clientStories = []clientStory{
	{
		name: clientstest.FlagdRPC, keeps: true, events: true, names: true, nobody: failed("TYPE_MISMATCH"),
		away: "FLAG_NOT_FOUND", lost: "PROVIDER_STALE", back: "PROVIDER_READY",
	},
	{
		name: clientstest.FlagdInProcess, events: true, names: true, lost: "PROVIDER_STALE", back: "PROVIDER_READY",
		odd:    map[string]clientstest.Answer{"broken": {Value: "mine", Reason: "DISABLED"}},
		nobody: clientstest.Answer{Value: "out", Variant: "others", Reason: "DEFAULT"},
	},
	{
		name: clientstest.OFREP, nobody: failed("INVALID_CONTEXT"), away: "GENERAL",
		odd: map[string]clientstest.Answer{"code": failed("GENERAL"), "disabled": failed("GENERAL")},
	},
	{
		name: clientstest.FlagdWeb, events: true, nobody: clientstest.Answer{Value: "in", Variant: "staff", Reason: "TARGETING_MATCH"},
		odd: map[string]clientstest.Answer{
			"code": failed("FLAG_NOT_FOUND"), "disabled": failed("TYPE_MISMATCH"),
			"astray": failed("FLAG_NOT_FOUND"), "broken": failed("FLAG_NOT_FOUND"),
		},
	},
	{
		name: clientstest.OFREPWeb, events: true, names: true, nobody: clientstest.Answer{Value: "in", Variant: "staff", Reason: "TARGETING_MATCH"},
		lost: "PROVIDER_STALE", back: "PROVIDER_CONFIGURATION_CHANGED", once: true,
	},
}

// Each of the official providers understands every kind of answer, hears of a change, bears that
// the sidecar is killed, and finds the one that starts at its addresses, with what has changed
// meanwhile and what changes later.
func TestClients_of_npm_live_with_a_sidecar(t *testing.T) {
	folder, data, sync := folderOf(t, clientFlags), dataDir(t), porttest.Addr(t)
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
	each("nobody in particular", func(s clientStory, t *testing.T, c *clientstest.Client) {
		question := clientstest.Question{Type: "string", Flag: "targeted", Fallback: "mine", Context: map[string]any{"targetingKey": 7}}
		if got := c.Ask(question); !cmp.Equal(s.nobody, got) {
			t.Errorf("for a targetingKey that is not a string (-want +got):\n%s", cmp.Diff(s.nobody, got))
		}
		if strings.HasSuffix(s.name, "-web") { // the answers are those of the user before, and it says so
			c.Hears("PROVIDER_ERROR")
		}
		s.right(t, c, clientQuestions("off", "a", "half"))
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
	folder, p, sync := folderOf(t, clientFlags), onGRPC(t), porttest.Addr(t)
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
	if odd, ok := s.odd[q.flag]; ok {
		want = odd
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
		if _, got := s.asks(c, questions[1]); !cmp.Equal(failed(s.away), got) {
			t.Errorf("(-want +got):\n%s", cmp.Diff(failed(s.away), got))
		}
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the answer took %v", took)
	}
	if events := c.Events(); len(events) > 0 {
		t.Logf("events: %v", events)
	}
}
