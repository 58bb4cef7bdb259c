package decision_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"go.uber.org/goleak"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/decision"
)

// fasthttp's pool of workers sees that it is stopped only when it next wakes, within ten
// seconds; its date is kept by one goroutine for ever.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	)
}

var (
	now    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	resume = tiergate.Resume{Epoch: "0123456789abcdef", Rev: 7}
)

// inForce is an evaluator whose generation is at a revision.
type inForce struct{ resume *tiergate.Resume }

func (e inForce) Generation() tiergate.Generation {
	if e.resume == nil {
		return nil
	}
	return e
}
func (e inForce) Resume() tiergate.Resume                         { return *e.resume }
func (inForce) Decide(*tiergate.Request) tiergate.Decision        { panic("not asked") }
func (inForce) All(*tiergate.Request) iter.Seq[tiergate.Decision] { panic("not asked") }
func (inForce) HasSet(string) bool                                { panic("not asked") }
func (inForce) SetMetadata(string) json.RawMessage                { panic("not asked") }
func (inForce) Steps(string) tiergate.ClockStep                   { panic("not asked") }

// gate answers what a function says, and remembers what it was asked.
type gate struct {
	mu   sync.Mutex
	uses []string // "verb feature user/team cost key …"
	say  func(verb string, u *tiergate.Use) (tiergate.Verdict, error)
}

func (g *gate) ask(verb string, u *tiergate.Use) (tiergate.Verdict, error) {
	g.mu.Lock()
	g.uses = append(g.uses, describe(verb, u))
	g.mu.Unlock()
	return g.say(verb, u)
}

func describe(verb string, u *tiergate.Use) string {
	team := u.TeamID
	if u.Key != nil {
		team = u.Key.TeamID
	}
	s := fmt.Sprintf("%s %s/%s by %s of %s cost %d", verb, u.Set, u.Flag, cmp.Or(u.UserID, "-"), cmp.Or(team, "-"), u.Cost)
	if u.IdempotencyKey != "" {
		s += " key " + u.IdempotencyKey
	}
	if !u.At.IsZero() {
		s += " at " + u.At.Format(time.RFC3339)
	}
	if u.Metadata != nil {
		s += " with " + string(u.Metadata)
	}
	return strings.Clone(s)
}

func (g *gate) Check(_ context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	return g.ask("check", u)
}

func (g *gate) Consume(_ context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	return g.ask("consume", u)
}

func (g *gate) Track(_ context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	return g.ask("track", u)
}

func (g *gate) Hold(_ context.Context, u *tiergate.Use, item string) (tiergate.Verdict, error) {
	return g.ask("hold "+item, u)
}

func (g *gate) Drop(_ context.Context, u *tiergate.Use, item string) (tiergate.Verdict, error) {
	return g.ask("drop "+item, u)
}

func (g *gate) Replace(_ context.Context, u *tiergate.Use, items []string) (tiergate.Verdict, error) {
	return g.ask("replace "+strings.Join(items, ","), u)
}

// answers are the verdicts by feature.
func answers(_ string, u *tiergate.Use) (tiergate.Verdict, error) {
	on := tiergate.Decision{Flag: u.Flag, Variant: "on", Value: json.RawMessage("true"), Tier: "pro"}
	off := tiergate.Decision{Flag: u.Flag, Variant: "off", Value: json.RawMessage("false"), Tier: "free"}
	month := tiergate.LimitState{
		Key: "exports-month", Kind: tiergate.Quota, Period: "month", Amount: 100, Min: 40, Max: 60,
		AsOf: now, ResetsIn: 36 * time.Hour,
	}
	second := tiergate.LimitState{
		Key: "api", Kind: tiergate.Rate, Period: "second", Amount: 10, Burst: 20, Min: 19, Max: 19, Exact: true,
		AsOf: now, ResetsIn: 1500 * time.Microsecond,
	}
	slots := tiergate.LimitState{Key: `größe"`, Kind: tiergate.Concurrency, Amount: 1 << 53, Exact: true, AsOf: now, ResetsIn: -1}
	v := tiergate.Verdict{Allow: true, Reason: tiergate.UseAllowed, Decision: on, ID: "d1", Resume: resume}
	deny := func(reason tiergate.UseReason) { v.Allow, v.Reason, v.Decision, v.ID = false, reason, off, "d2" }
	switch u.Flag {
	case "exports":
		v.Limits = []tiergate.LimitState{month, second, slots}
	case "tier":
		deny(tiergate.UseTier)
		v.Decision.Upgrade = "pro"
	case "exhausted":
		deny(tiergate.UseExhausted)
		month.Min, month.Max, month.Exact = 0, 0, true
		v.Limits, v.Denied, v.RetryAfter = []tiergate.LimitState{month, second}, "exports-month", 36*time.Hour+time.Millisecond
	case "contended":
		deny(tiergate.UseContended)
		month.Min = -3
		v.Limits, v.Denied, v.RetryAfter = []tiergate.LimitState{month}, "exports-month", 1200*time.Millisecond
	case "away":
		deny(tiergate.UseUnavailable)
		v.Denied = "exports-month"
	case "nobody":
		deny(tiergate.UseInvalid)
		v.Message = "the limit needs a team"
	case "nope":
		deny(tiergate.UseFlagNotFound)
		v.Decision = tiergate.Decision{Tier: "free"}
	case "replayed":
		v.Replayed = true
	case "running":
		return tiergate.Verdict{}, tiergate.Errorf(tiergate.Conflict, "the same key is being worked on")
	case "reused":
		return tiergate.Verdict{}, tiergate.Errorf(tiergate.KeyReused, "the key stands for another request")
	case "loading":
		return tiergate.Verdict{}, tiergate.Errorf(tiergate.Unavailable, "nothing has been loaded yet")
	case "broken":
		return tiergate.Verdict{}, fmt.Errorf("the password is %q", "hunter2")
	case "panics":
		panic("boom")
	}
	return v, nil
}

func door(change func(*decision.Config)) (server.Door, *gate) {
	g := &gate{say: answers}
	cfg := decision.Config{Evaluator: inForce{&resume}, Gate: g, Gauges: g, Now: func() time.Time { return now }}
	if change != nil {
		change(&cfg)
	}
	return decision.New(cfg), g
}

// serve runs the door on a real socket until the test ends.
func serve(t *testing.T, change func(*decision.Config)) (addr string, g *gate) {
	t.Helper()
	d, g := door(change)
	return serveApp(t, server.NewApp(server.Config{}, d)), g
}

func serveApp(t *testing.T, app *fiber.App) string {
	t.Helper()
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, app, ln, 5*time.Second) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// answer is one HTTP answer, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends raw bytes on a connection of their own and reads one answer.
func ask(t *testing.T, addr, raw string) answer {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	defer func() { _ = c.Close(); <-sent }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { // a refused body may end the sending early
		defer close(sent)
		_, _ = io.WriteString(c, raw)
	}()
	method, _, _ := strings.Cut(raw, " ")
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read the answer to %.200q: %v", raw, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

// post makes a request; headers are whole lines.
func post(path, body string, headers ...string) string {
	return request("POST", path, body, headers...)
}

func request(method, path, body string, headers ...string) string {
	head := append([]string{method + " " + path + " HTTP/1.1", "Host: localhost"}, headers...)
	if body != "" || method == "POST" {
		head = append(head, "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body)))
	}
	return strings.Join(head, "\r\n") + "\r\n\r\n" + body
}
