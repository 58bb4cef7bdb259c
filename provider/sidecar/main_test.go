package sidecar_test

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/isolated"
	"go.uber.org/goleak"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/provider/sidecar"
	"github.com/tiergate/tiergate/quota"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/decision"
	"github.com/tiergate/tiergate/server/ofrep"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Of the server that the tests ask: these live on for a while, or as long as the program.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	)
}

// A served sidecar is the real doors over the real evaluator and the demo data, on loopback.
type served struct {
	t      *testing.T
	engine *evaluator.Engine
	gate   *evaluator.Gate
	addr   string
	down   func()
}

func (s *served) target() string {
	if strings.HasPrefix(s.addr, "unix:") {
		return s.addr
	}
	return "http://" + s.addr
}

// serve serves the demo data and more until the test ends.
func serve(t *testing.T, addr string, more ...tiergate.Change) *served {
	t.Helper()
	s := &served{t: t, engine: evaluator.New(evaluator.Options{}), addr: addr}
	err := s.engine.Apply(t.Context(), tiergate.Revision{
		Resume: tiergate.Resume{Epoch: "0123456789abcdef", Rev: 1}, Whole: true,
		Changes: tiergate.ChangesOf(append(conformance.Demo(), more...)...),
	})
	if err != nil {
		t.Fatal(err)
	}
	ledger := new(quota.Memory)
	counter, err := quota.Open(quota.Options{Ledger: ledger, Reservations: ledger, Gauges: ledger, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := counter.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	s.gate = evaluator.NewGate(s.engine, counter)
	s.up()
	return s
}

// change puts changes in force as the next revision.
func (s *served) change(changes ...tiergate.Change) {
	s.t.Helper()
	at := s.engine.Current().Resume()
	at.Rev++
	if err := s.engine.Apply(s.t.Context(), tiergate.Revision{Resume: at, Changes: tiergate.ChangesOf(changes...)}); err != nil {
		s.t.Fatal(err)
	}
}

// up serves at the address that was served before, until down is called or the test ends.
func (s *served) up() {
	s.t.Helper()
	ln, err := listen.Listen(s.addr, listen.Options{Timeouts: server.Timeouts})
	if err != nil {
		s.t.Fatal(err)
	}
	if !strings.HasPrefix(s.addr, "unix:") {
		s.addr = ln.Addr().String()
	}
	streams := ofrep.NewStreams(ofrep.StreamConfig{Watcher: s.engine, Secret: []byte("a secret of more than 32 bytes, for tests")})
	app := server.NewApp(server.Config{},
		ofrep.New(ofrep.Config{Evaluator: s.engine, Streams: streams, Gate: s.gate}),
		decision.New(decision.Config{Evaluator: s.engine, Gate: s.gate}))
	ctx, stop := context.WithCancel(context.WithoutCancel(s.t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := streams.Run(ctx); err != nil {
			s.t.Error(err)
		}
	})
	running.Go(func() {
		if err := server.Serve(ctx, app, ln, 5*time.Second); err != nil {
			s.t.Error(err)
		}
	})
	s.down = sync.OnceFunc(func() {
		stop()
		running.Wait()
	})
	s.t.Cleanup(s.down)
}

// A counting transport counts the questions by their paths.
type counting struct {
	http.RoundTripper
	cut    atomic.Bool // packets are dropped
	closed atomic.Bool // idle connections were closed
	mu     sync.Mutex
	paths  map[string]int
}

func newCounting(t *testing.T) (*counting, *http.Client) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	c := &counting{RoundTripper: transport, paths: map[string]int{}}
	return c, &http.Client{Transport: c}
}

func (c *counting) RoundTrip(req *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.paths[req.URL.Path]++
	c.mu.Unlock()
	if c.cut.Load() {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	return c.RoundTripper.RoundTrip(req)
}

// CloseIdleConnections is what http.Client.CloseIdleConnections calls.
func (c *counting) CloseIdleConnections() { c.closed.Store(true) }

// about is how often a flag was asked for; "" is all of them.
func (c *counting) about(flag string) int {
	path := "/ofrep/v1/evaluate/flags"
	if flag != "" {
		path += "/" + flag
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.paths[path]
}

// provider makes a provider, and a client of the SDK over it that is initialized and shut down
// with the test. A question may take long unless the options say how long.
func provider(t *testing.T, target string, o sidecar.Options) (*sidecar.Provider, *openfeature.Client) {
	t.Helper()
	o.Timeout = cmp.Or(o.Timeout, 20*time.Second)
	p, err := sidecar.New(target, o)
	if err != nil {
		t.Fatal(err)
	}
	return p, clientOf(t, p)
}

// clientOf is a client of the SDK over a provider that is initialized and shut down with the test.
func clientOf(t *testing.T, p *sidecar.Provider) *openfeature.Client {
	t.Helper()
	api := isolated.NewAPI()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := api.SetProviderAndWait(ctx, p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := api.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return api.NewClient()
}

// following waits until the event stream of a provider is connected.
func following(t *testing.T, p *sidecar.Provider) {
	t.Helper()
	await(t, "the event stream is connected", p.Follows)
}

func await(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("after twenty seconds it is not so that %s", what)
		}
	}
}

// ask asks for a boolean flag.
func ask(t *testing.T, c *openfeature.Client, flag, user string) openfeature.BooleanEvaluationDetails {
	t.Helper()
	d, _ := c.BooleanValueDetails(t.Context(), flag, false, openfeature.NewEvaluationContext(user, nil))
	return d
}
