package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/client"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
)

// fasthttp's pool of workers sees that it is stopped only when it next wakes, within ten
// seconds; its date is kept by one goroutine for ever.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	)
}

// A client speaks with the real door: what it asks arrives, and what is answered comes back.
func TestClient_with_the_door(t *testing.T) {
	g := newGate()
	for name, target := range map[string]string{"tcp": "127.0.0.1:0", "unix": "unix:" + filepath.Join(t.TempDir(), "s")} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, serve(t, target, g.door()), client.Options{})
			d, err := c.Consume(t.Context(), client.Use{
				Feature: "exports", Subject: client.Subject{User: "alice", Team: "acme"}, Attributes: map[string]any{"country": "NZ"},
				Cost: 2, IdempotencyKey: "k1", Metadata: map[string]any{"path": "/x"},
			})
			want := client.Decision{
				Allow: true, Status: 200, Reason: tiergate.UseAllowed, Feature: "exports", Variant: "on", Value: json.RawMessage("true"), Tier: "pro",
				Limits:   []client.Limit{{Key: "exports-day", Kind: tiergate.Quota, Amount: 3, Min: 1, Max: 1, Exact: true, AsOf: now, ResetsIn: time.Hour}},
				Revision: "01234567-7", ID: "k1",
				Header: http.Header{"Ratelimit": {`"exports-day";r=1;t=3600`}, "Ratelimit-Policy": {`"exports-day";q=3;w=86400`}},
			}
			if diff := cmp.Diff(want, d); diff != "" || err != nil {
				t.Errorf("the decision (-want +got): %v\n%s", err, diff)
			}
			if u := g.last(); u != `consume exports alice acme 2 k1 {"path":"/x"}` {
				t.Errorf("the gate was asked %s", u)
			}
			g.forget()
		})
	}
}

// Each verb has its path, and a denying decision is no error.
func TestClient_verbs(t *testing.T) {
	g := newGate()
	c := newClient(t, serve(t, "127.0.0.1:0", g.door()), client.Options{})
	d, err := c.Check(t.Context(), client.Use{Feature: "white-label", Subject: client.Subject{User: "carol"}, IdempotencyKey: "not sent", Metadata: map[string]any{"not": "sent"}})
	if err != nil || d.Allow || d.Status != 403 || d.Reason != tiergate.UseTier || d.Upgrade != "enterprise" || d.Message != "Feature not available for your tier" {
		t.Errorf("check: %+v, %v", d, err)
	}
	at := now.Add(-time.Hour)
	d, err = c.Track(t.Context(), client.Use{Feature: "exports", Subject: client.Subject{User: "carol"}, At: at, Cost: 5})
	if err != nil || !d.Allow || !strings.HasPrefix(g.last(), "track exports carol  5 ") || !strings.HasSuffix(g.last(), at.Format(time.RFC3339)) {
		t.Errorf("track: %+v, %v, asked %s", d, err, g.last())
	}
	for i, want := range []bool{true, true, true, false} {
		if d, err = c.Consume(t.Context(), client.Use{Feature: "exports", Subject: client.Subject{User: "bob"}}); err != nil || d.Allow != want {
			t.Errorf("consume %d: %+v, %v", i, d, err)
		}
	}
	if d.Status != 429 || d.DeniedBy != "exports-day" || d.RetryAfter != time.Hour || d.Header.Get("Retry-After") != "3600" {
		t.Errorf("denied: %+v", d)
	}
}

// Errors tell what is wrong, by status and in tiergate's words.
func TestClient_errors(t *testing.T) {
	g := newGate()
	c := newClient(t, serve(t, "127.0.0.1:0", g.door()), client.Options{})
	_, err := c.Consume(t.Context(), client.Use{Feature: "exports", Cost: -1})
	e, ok := errors.AsType[*client.Error](err)
	if !ok || e.Status != 400 || e.Field != "cost" || tiergate.CodeOf(err) != tiergate.Invalid {
		t.Errorf("a negative cost: %v", err)
	}
	if _, err := c.Reservation(t.Context(), "nope"); tiergate.CodeOf(err) != tiergate.NotFound {
		t.Errorf("no such reservation: %v", err)
	}
	if _, err := c.Consume(t.Context(), client.Use{Feature: "exports", Metadata: map[string]any{"f": func() {}}}); tiergate.CodeOf(err) != tiergate.Invalid {
		t.Errorf("metadata that is no JSON: %v", err)
	}
	if _, err := c.Consume(t.Context(), client.Use{Feature: "reused", IdempotencyKey: "k"}); tiergate.CodeOf(err) != tiergate.KeyReused {
		t.Errorf("a key that is reused: %v", err)
	}
	nobody := newClient(t, "http://127.0.0.1:1", client.Options{Attempts: 1})
	_, err = nobody.Check(t.Context(), client.Use{Feature: "x"})
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != 0 || tiergate.CodeOf(err) != tiergate.Unavailable {
		t.Errorf("nobody listens: %v", err)
	}
	if _, ok := errors.AsType[*net.OpError](err); !ok {
		t.Errorf("the cause is lost: %v", err)
	}
}

// A program may have replaced net/http's own transport, to trace what it sends or to send nothing:
// a client has one of its own all the same.
func TestNew_in_a_program_with_another_default_transport(t *testing.T) {
	g := newGate()
	target := serve(t, "127.0.0.1:0", g.door())
	before := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = before })
	http.DefaultTransport = &transport{answer: func(int, *http.Request) (*http.Response, error) {
		return nil, errors.New("this is not the client's")
	}}
	c := newClient(t, target, client.Options{})
	if d, err := c.Check(t.Context(), client.Use{Feature: "exports", Subject: client.Subject{User: "carol"}}); err != nil || !d.Allow {
		t.Errorf("%+v, %v", d, err)
	}
}

// Options that can never work are refused at once.
func TestNew_refuses(t *testing.T) {
	for _, o := range []client.Options{
		{Target: "localhost:8016"},
		{Target: "ftp://localhost"},
		{Target: "http://"},
		{Target: "http://u:p@localhost"},
		{Target: "http://localhost?x=1"},
		{Target: "unix:"},
		{Target: "unix:/s", HTTP: http.DefaultClient},
		{Attempts: -1},
	} {
		if _, err := client.New(o); tiergate.CodeOf(err) != tiergate.Invalid {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// transport answers by function, and counts.
type transport struct {
	mu     sync.Mutex
	bodies []string
	answer func(n int, r *http.Request) (*http.Response, error)
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	t.mu.Lock()
	t.bodies = append(t.bodies, string(body))
	n := len(t.bodies)
	t.mu.Unlock()
	return t.answer(n, r)
}

func response(status int, contentType, body string) (*http.Response, error) {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

const allowed = `{"allow":true,"status":200,"reason":"ALLOWED","feature":"x","limits":[],"retryAfterMs":null,"decisionId":"d"}`

// A call that may not have arrived is sent again under the same key, at most so often, and other
// refusals are not.
func TestRetries(t *testing.T) {
	problem := func(status int, code string) func() (*http.Response, error) {
		return func() (*http.Response, error) {
			return response(status, "application/problem+json", fmt.Sprintf(`{"status":%d,"code":%q,"detail":"d"}`, status, code))
		}
	}
	broken := func() (*http.Response, error) { return nil, errors.New("connection reset") }
	for name, tc := range map[string]struct {
		fail     func() (*http.Response, error)
		attempts int // until it gives up
	}{
		"connection":      {broken, 3},
		"not ready":       {problem(503, "unavailable"), 3},
		"half a question": {problem(408, "timeout"), 3},
		"a proxy":         {func() (*http.Response, error) { return response(502, "text/html", "<html>") }, 3},
		"still running":   {problem(409, "conflict"), 3},
		"another body":    {problem(422, "key_reused"), 1},
		"invalid":         {problem(400, "invalid"), 1},
		"broken there":    {problem(500, "internal"), 1},
		"redirected":      {func() (*http.Response, error) { return response(307, "text/html", "") }, 1},
		"not the sidecar": {func() (*http.Response, error) { return response(200, "text/html", "<html>") }, 1},
		"denied for a while": {func() (*http.Response, error) {
			return response(503, "application/problem+json", `{"allow":false,"status":503,"reason":"UNAVAILABLE"}`)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := &transport{answer: func(int, *http.Request) (*http.Response, error) { return tc.fail() }}
				c := newClient(t, "http://sidecar", client.Options{HTTP: &http.Client{Transport: tr}})
				start := time.Now()
				d, err := c.Consume(t.Context(), client.Use{Feature: "x"})
				if len(tr.bodies) != tc.attempts || d.Allow || (err == nil) != (d.Status == 503) {
					t.Errorf("%d attempts, want %d: %+v, %v", len(tr.bodies), tc.attempts, d, err)
				}
				if waited := time.Since(start); waited > time.Second {
					t.Errorf("it waited for %v", waited)
				}
				for _, body := range tr.bodies {
					if body != tr.bodies[0] || !strings.Contains(body, `"idempotencyKey":"`) {
						t.Errorf("an attempt was %s, the first %s", body, tr.bodies[0])
					}
				}
				tr.bodies = nil
				tr.answer = func(n int, _ *http.Request) (*http.Response, error) {
					if n == 1 {
						return tc.fail()
					}
					return response(200, "application/json", allowed)
				}
				if d, err := c.Track(t.Context(), client.Use{Feature: "x"}); d.Allow != (tc.attempts > 1) {
					t.Errorf("after one failure: %+v, %v", d, err)
				}
			})
		})
	}
}

// Calls of their own have keys of their own; one that has a key keeps it.
func TestKeys_are_minted_for_each_call(t *testing.T) {
	tr := &transport{answer: func(int, *http.Request) (*http.Response, error) { return response(200, "application/json", allowed) }}
	c := newClient(t, "http://sidecar", client.Options{HTTP: &http.Client{Transport: tr}, Key: "tg_key"})
	for _, key := range []string{"", "", "mine"} {
		if _, err := c.Consume(t.Context(), client.Use{Feature: "x", IdempotencyKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Check(t.Context(), client.Use{Feature: "x", IdempotencyKey: "mine"}); err != nil {
		t.Fatal(err)
	}
	if tr.bodies[0] == tr.bodies[1] || tr.bodies[2] != `{"feature":"x","idempotencyKey":"mine"}` || tr.bodies[3] != `{"feature":"x"}` {
		t.Errorf("sent %q", tr.bodies)
	}
}

// A consume whose answers are lost has taken once, though it arrived three times.
func TestRetry_never_takes_twice(t *testing.T) {
	g := newGate()
	target := serve(t, "127.0.0.1:0", g.door())
	real := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(real.CloseIdleConnections)
	tr := &transport{answer: func(n int, r *http.Request) (*http.Response, error) {
		res, err := real.RoundTrip(r)
		if err == nil && n < 3 { // it arrived, and its answer does not
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			return nil, errors.New("connection reset")
		}
		return res, err
	}}
	c := newClient(t, target, client.Options{HTTP: &http.Client{Transport: tr}})
	d, err := c.Consume(t.Context(), client.Use{Feature: "exports", Subject: client.Subject{User: "bob"}, Cost: 2})
	if err != nil || !d.Allow || !d.Replayed || len(tr.bodies) != 3 {
		t.Errorf("%+v, %v after %d attempts", d, err, len(tr.bodies))
	}
	if used := g.usedBy("bob"); used != 2 {
		t.Errorf("%d units were taken", used)
	}
}

// The timeout bounds the whole call; a caller that gives up is told so at once.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &transport{answer: func(_ int, r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}}
		c := newClient(t, "http://sidecar", client.Options{HTTP: &http.Client{Transport: tr}, Timeout: time.Second})
		start := time.Now()
		_, err := c.Check(t.Context(), client.Use{Feature: "x"})
		if !errors.Is(err, context.DeadlineExceeded) || tiergate.CodeOf(err) != tiergate.Unavailable || time.Since(start) != time.Second || len(tr.bodies) != 1 {
			t.Errorf("%v after %v and %d attempts", err, time.Since(start), len(tr.bodies))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := c.Check(ctx, client.Use{Feature: "x"}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 1100*time.Millisecond {
			t.Errorf("the caller's own time: %v", err)
		}
	})
}

// A call about a reservation is not given up before the sidecar has given up its ledger.
func TestTimeout_by_default(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &transport{answer: func(_ int, r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}}
		c := newClient(t, "http://sidecar", client.Options{HTTP: &http.Client{Transport: tr}})
		for want, ask := range map[time.Duration]func() error{
			client.DefaultTimeout: func() error {
				_, err := c.Consume(t.Context(), client.Use{Feature: "x"})
				return err
			},
			client.DefaultReserveTimeout: func() error {
				_, err := c.Commit(t.Context(), "job", client.Actual{})
				return err
			},
		} {
			start := time.Now()
			if err := ask(); tiergate.CodeOf(err) != tiergate.Unavailable || time.Since(start) != want {
				t.Errorf("%v after %v, want Unavailable after %v", err, time.Since(start), want)
			}
		}
	})
}

// With a time shorter than one call may take, a job is told that its reservation does not hold
// any more when its time is over, and not when the call is.
func TestHold_is_lost_in_time(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(time.Now)
		answer := s.answer
		s.answer = func(n int, r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/extend") {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return answer(n, r)
		}
		c := newClient(t, "http://sidecar", client.Options{HTTP: &http.Client{Transport: s}})
		start := time.Now()
		h, _, err := c.Hold(t.Context(), client.Use{Feature: "train"}, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if <-h.Lost(); time.Since(start) != time.Second {
			t.Errorf("it is lost after %v", time.Since(start))
		}
		if _, err := h.Release(t.Context()); err != nil && tiergate.CodeOf(err) != tiergate.Gone {
			t.Errorf("release: %v", err)
		}
	})
}

func newClient(t *testing.T, target string, o client.Options) *client.Client {
	t.Helper()
	o.Target = target
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// serve runs a door until the test ends and returns the target of its clients.
func serve(t *testing.T, addr string, door server.Door) string {
	t.Helper()
	ln, err := listen.Listen(addr, listen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, server.NewApp(server.Config{}, door), ln, 5*time.Second) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	if strings.HasPrefix(addr, "unix:") {
		return addr
	}
	return "http://" + ln.Addr().String()
}
