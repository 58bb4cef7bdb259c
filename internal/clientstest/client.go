package clientstest

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

// The clients that there are: OpenFeature's providers for JavaScript. Those of the web hold the
// answers for one context; the others ask, or decide, for each.
const (
	FlagdRPC       = "flagd-rpc"
	FlagdInProcess = "flagd-in-process"
	OFREP          = "ofrep"
	FlagdWeb       = "flagd-web"
	OFREPWeb       = "ofrep-web"
)

// Addrs are where a sidecar listens, host:port.
type Addrs struct {
	HTTP string `json:"http"`
	GRPC string `json:"grpc"`
	Sync string `json:"sync"`
}

// A Question is what an application asks its SDK.
type Question struct {
	Type     string         `json:"type"` // boolean, string, number or object
	Flag     string         `json:"flag"`
	Fallback any            `json:"fallback"`
	Context  map[string]any `json:"context"`
}

// An Answer is what the SDK says.
type Answer struct {
	Value     any    `json:"value"`
	Variant   string `json:"variant"`
	Reason    string `json:"reason"`
	ErrorCode string `json:"errorCode"`
}

// An Event is one of the provider's, by its name in the SDK.
type Event struct {
	Event string   `json:"event"`
	Flags []string `json:"flags"` // which it names, if any
}

// A Client is an application that uses one of the providers. One goroutine at a time may use it.
type Client struct{ *Script }

// Connect starts a client and waits until it says that it is ready.
func Connect(t testing.TB, name string, at Addrs) *Client {
	t.Helper()
	c := Start(t, name, at)
	c.Hears("PROVIDER_READY")
	return c
}

// Start starts a client and waits for nothing.
func Start(t testing.TB, name string, at Addrs) *Client {
	t.Helper()
	text, err := json.Marshal(at)
	if err != nil {
		t.Fatal(err)
	}
	return &Client{start(t, name, nil, "--import", "./browser.mjs", "client.mjs", name, string(text))}
}

// In returns the same client for a subtest, which it then fails.
func (c *Client) In(t testing.TB) *Client {
	again := *c.Script
	again.t = t
	return &Client{&again}
}

// Ask asks for a flag.
func (c *Client) Ask(q Question) Answer {
	c.t.Helper()
	var a Answer
	c.say(q, &a)
	return a
}

// Events returns the events since it was called last.
func (c *Client) Events() []Event {
	c.t.Helper()
	var events []Event
	c.say(map[string]bool{"events": true}, &events)
	return events
}

// Hears waits for an event, and returns the first with that name; those before it are forgotten.
func (c *Client) Hears(event string) Event {
	c.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if events := c.Events(); len(events) > 0 {
			if i := slices.IndexFunc(events, func(e Event) bool { return e.Event == event }); i >= 0 {
				return events[i]
			}
		}
	}
	c.t.Fatalf("%s hears no %s", c.name, event)
	return Event{}
}

// Track tracks an event and returns whether the provider has a method that is told of it.
func (c *Client) Track(name string, context map[string]any) bool {
	c.t.Helper()
	var answer struct{ Sent bool }
	c.say(map[string]any{"track": name, "context": context}, &answer)
	return answer.Sent
}

func (c *Client) say(what, answer any) {
	c.t.Helper()
	text, err := json.Marshal(what)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.in.Write(append(text, '\n')); err != nil {
		c.t.Fatalf("%s has ended (%v):\n%s", c.name, err, c.complaints)
	}
	line := c.Line()
	if err := json.Unmarshal([]byte(line), answer); err != nil {
		c.t.Fatalf("%s answers %s with %s: %v", c.name, text, line, err)
	}
}
