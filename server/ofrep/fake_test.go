package ofrep_test

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"maps"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"go.uber.org/goleak"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/ofrep"
)

// fasthttp's pool of workers sees that it is stopped only when it next wakes, within ten
// seconds; its date is kept by one goroutine for ever.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	)
}

// fake is an evaluator whose generation is whatever the test puts in force.
type fake struct {
	gen   atomic.Pointer[generation]
	asked func() // called for each look at the generation; nil: nothing
}

func (f *fake) Generation() tiergate.Generation {
	if f.asked != nil {
		f.asked()
	}
	if g := f.gen.Load(); g != nil {
		return g
	}
	return nil
}

// generation answers by function, so that a case can say what is decided.
type generation struct {
	resume  tiergate.Resume
	sets    map[string]map[string]func(*tiergate.Request) tiergate.Decision
	meta    json.RawMessage
	steps   tiergate.ClockStep
	decided atomic.Int64
}

func (g *generation) Decide(req *tiergate.Request) tiergate.Decision {
	g.decided.Add(1)
	decide, ok := g.sets[req.Set][req.Flag]
	if !ok {
		return tiergate.Decision{
			Flag: req.Flag, Reason: tiergate.ReasonError,
			ErrorCode: tiergate.FlagNotFound, ErrorDetails: "there is no such flag",
		}
	}
	d := decide(req)
	d.Flag = req.Flag
	return d
}

func (g *generation) All(req *tiergate.Request) iter.Seq[tiergate.Decision] {
	return func(yield func(tiergate.Decision) bool) {
		for _, name := range slices.Sorted(maps.Keys(g.sets[req.Set])) {
			one := *req
			one.Flag = name
			if !yield(g.Decide(&one)) {
				return
			}
		}
	}
}

func (g *generation) HasSet(set string) bool                 { return g.sets[set] != nil }
func (g *generation) SetMetadata(set string) json.RawMessage { return g.meta }
func (g *generation) Steps(string) tiergate.ClockStep        { return g.steps }
func (g *generation) Resume() tiergate.Resume                { return g.resume }

// always decides the same for everybody.
func always(d tiergate.Decision) func(*tiergate.Request) tiergate.Decision {
	return func(*tiergate.Request) tiergate.Decision { return d }
}

func value(kind tiergate.FlagType, variant, literal string) tiergate.Decision {
	return tiergate.Decision{Type: kind, Variant: variant, Value: json.RawMessage(literal), Reason: tiergate.ReasonStatic}
}

// demoFlags has each kind of answer once.
func demoFlags() map[string]func(*tiergate.Request) tiergate.Decision {
	meta := value(tiergate.Boolean, "on", "true")
	meta.Metadata = json.RawMessage(`"frontier":1,"owner":"web","tier":"a lie","revision":"a lie","denied":true`)
	return map[string]func(*tiergate.Request) tiergate.Decision{
		"on":       always(value(tiergate.Boolean, "on", "true")),
		"blue":     always(value(tiergate.String, "blue", `"#00f"`)),
		"int":      always(value(tiergate.Number, "ten", "10")),
		"float":    always(value(tiergate.Number, "ten", "10.0")),
		"object":   always(value(tiergate.Object, "o", `{"models":["a","b"],"max":3}`)),
		"a/b c":    always(value(tiergate.Boolean, "on", "true")),
		"100%":     always(value(tiergate.Boolean, "on", "true")),
		"größe":    always(value(tiergate.Boolean, "on", "true")),
		"disabled": always(tiergate.Decision{Type: tiergate.Boolean, Reason: tiergate.ReasonDisabled}),
		"code":     always(tiergate.Decision{Type: tiergate.String, Reason: tiergate.ReasonDefault}),
		"meta":     always(meta),
		"broken": always(tiergate.Decision{
			Reason: tiergate.ReasonError, ErrorCode: tiergate.ParseError, ErrorDetails: `the targeting is "broken"`,
		}),
		"panics": func(*tiergate.Request) tiergate.Decision { panic("boom") },
		"who": func(r *tiergate.Request) tiergate.Decision {
			text, _ := json.Marshal(cmp.Or(r.UserID, "nobody") + " of " + cmp.Or(r.TeamID, "no team"))
			return tiergate.Decision{
				Type: tiergate.String, Variant: "you", Reason: tiergate.ReasonTargetingMatch, Value: text, Tier: "free",
			}
		},
		"denied": always(tiergate.Decision{
			Type: tiergate.Boolean, Variant: "off", Value: json.RawMessage("false"), Reason: tiergate.ReasonTargetingMatch,
			Tier: "free", Denied: true, DenyReason: "tier", Upgrade: "pro",
		}),
	}
}

func demo() *generation {
	flags := demoFlags()
	quiet := demoFlags()
	delete(quiet, "panics")
	return &generation{
		resume: tiergate.Resume{Epoch: "0123456789abcdef", Rev: 7},
		sets:   map[string]map[string]func(*tiergate.Request) tiergate.Decision{"default": flags, "quiet": quiet},
		meta:   json.RawMessage(`"version":"v1"`),
	}
}

func fakeOf(g *generation) *fake {
	f := new(fake)
	f.gen.Store(g)
	return f
}

// serve runs an app on a real socket until the test ends, and returns its address.
func serve(t *testing.T, app *fiber.App) string {
	t.Helper()
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, app, ln)
}

func serveOn(t *testing.T, app *fiber.App, ln net.Listener) string {
	t.Helper()
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

func appOf(cfg ofrep.Config) *fiber.App {
	return server.NewApp(server.Config{}, ofrep.New(cfg))
}
