package sidecar_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/porttest"
	"github.com/tiergate/tiergate/provider/sidecar"
)

// losses are what a provider told to be lost.
type losses struct {
	mu   sync.Mutex
	told []string
}

func (l *losses) lose(n int, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, fmt.Sprint(n, " ", why))
}

// exported is how many exports bob has used.
func (s *served) exported() int64 {
	s.t.Helper()
	v, err := s.gate.Check(s.t.Context(), &tiergate.Use{Request: tiergate.Request{Flag: "exports", UserID: "bob"}})
	if err != nil {
		s.t.Fatal(err)
	}
	return 50 - v.Limits[0].Min
}

// tracked tracks exports of bob with a context each, against a sidecar that is reached through a
// transport, and shuts down.
func tracked(t *testing.T, s *served, through http.RoundTripper, contexts ...map[string]any) *losses {
	t.Helper()
	l := new(losses)
	p, err := sidecar.New(s.target(), sidecar.Options{TrackLost: l.lose, HTTP: &http.Client{Transport: through}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Init(openfeature.EvaluationContext{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range contexts {
		c = maps.Clone(c)
		if c == nil {
			c = map[string]any{}
		}
		c["teamId"] = "globex"
		p.Track(t.Context(), "exports", openfeature.NewEvaluationContext("bob", c), openfeature.NewTrackingEventDetails(1))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := p.ShutdownWithContext(ctx); err != nil {
		t.Error(err)
	}
	if n := int(p.LostEvents()); n != len(l.told) {
		t.Errorf("lost %d, told %q", n, l.told)
	}
	return l
}

// A meddling transport lets its test decide what becomes of the nth batch of tracked events.
type meddling struct {
	http.RoundTripper
	batches int
	meddle  func(n int, req *http.Request, send func() (*http.Response, error)) (*http.Response, error)
}

func newMeddling(t *testing.T, meddle func(n int, req *http.Request, send func() (*http.Response, error)) (*http.Response, error)) *meddling {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return &meddling{RoundTripper: transport, meddle: meddle}
}

// RoundTrip is not used for two batches at the same time.
func (m *meddling) RoundTrip(req *http.Request) (*http.Response, error) {
	send := func() (*http.Response, error) { return m.RoundTripper.RoundTrip(req) }
	if req.URL.Path != "/v1/batch/track" {
		return send()
	}
	m.batches++
	return m.meddle(m.batches, req, send)
}

// answerWith is an answer of a status.
func answerWith(req *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: req}
}

// An event that the sidecar cannot read costs no other one: it is lost alone, and told with the
// sidecar's words.
func TestProvider_an_event_that_nobody_can_read(t *testing.T) {
	s := serve(t, porttest.Addr(t))
	deep := any("x")
	for range 30 { // which is not too deep by itself
		deep = []any{deep}
	}
	contexts := make([]map[string]any, 50)
	contexts[17] = map[string]any{"deep": deep}
	m := newMeddling(t, func(_ int, _ *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		return send()
	})
	l := tracked(t, s, m, contexts...)
	await(t, "all others are counted", func() bool { return s.exported() == 49 })
	if len(l.told) != 1 || !strings.Contains(l.told[0], "nested deeper") {
		t.Errorf("lost %q", l.told)
	}
	if m.batches > 40 { // all of them twice, when the end came between
		t.Errorf("it took %d messages", m.batches)
	}
}

// Events that hold more together than the sidecar reads at once are sent by halves.
func TestProvider_tracks_more_than_fits_a_message(t *testing.T) {
	s := serve(t, porttest.Addr(t))
	many := map[string]any{"list": make([]any, 30_000)}
	m := newMeddling(t, func(_ int, _ *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		return send()
	})
	if l := tracked(t, s, m, many, many, many); l.told != nil {
		t.Errorf("lost %q", l.told)
	}
	await(t, "all are counted", func() bool { return s.exported() == 3 })
}

// A sidecar that fails is asked again, whether it has recorded what it was sent or not; each event
// counts once.
func TestProvider_tracks_again_what_the_sidecar_failed_at(t *testing.T) {
	const failed, page = `{"detail":"internal error"}`, "<html>default backend" // of what is in front of it
	for _, tc := range []struct {
		status int
		body   string
	}{
		{http.StatusInternalServerError, failed},
		{http.StatusRequestTimeout, failed},
		{http.StatusServiceUnavailable, failed},
		{507, failed},
		{http.StatusNotFound, page},
		{http.StatusFound, page},
		{http.StatusOK, page},
	} {
		for _, recorded := range []bool{false, true} {
			s := serve(t, porttest.Addr(t))
			m := newMeddling(t, func(n int, req *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
				if n > 2 {
					return send()
				}
				if recorded {
					res, err := send()
					if err != nil {
						return nil, err
					}
					_ = res.Body.Close()
				}
				return answerWith(req, tc.status, tc.body), nil
			})
			l := tracked(t, s, m, make([]map[string]any, 7)...)
			if l.told != nil || m.batches < 3 {
				t.Errorf("%d, recorded: %v: after %d messages lost %q", tc.status, recorded, m.batches, l.told)
			}
			tracked(t, s, http.DefaultTransport, nil) // is counted behind all that came before
			await(t, "all are counted", func() bool { return s.exported() >= 8 })
			if n := s.exported(); n != 8 {
				t.Errorf("%d, recorded: %v: %d of 8 are counted", tc.status, recorded, n)
			}
		}
	}
}

// A message that is refused loses what was in it, and nothing of those before and after it.
func TestProvider_loses_only_what_is_refused(t *testing.T) {
	s := serve(t, porttest.Addr(t))
	refused := map[string]bool{} // events of the second message: how many fit depends on when it is sent
	m := newMeddling(t, func(n int, req *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		events := eventsOf(t, req)
		if n == 2 || slices.ContainsFunc(events, func(key string) bool { return refused[key] }) { // again, when the end came between
			for _, key := range events {
				refused[key] = true
			}
			return answerWith(req, http.StatusForbidden, `{"detail":"the key may not track"}`), nil
		}
		return send()
	})
	large := map[string]any{"text": strings.Repeat("x", 400_000)} // two of which fit
	l := tracked(t, s, m, large, large, large, large, large)
	await(t, "what was not refused is counted", func() bool { return s.exported() == int64(5-len(refused)) })
	if m.batches < 3 || len(refused) < 1 {
		t.Errorf("it took %d messages, of which the second had %d events", m.batches, len(refused))
	}
	if len(l.told) != len(refused) || !strings.Contains(l.told[0], "the key may not track") {
		t.Errorf("lost %q", l.told)
	}
}

// eventsOf returns the idempotency keys of the events in a message.
func eventsOf(t *testing.T, req *http.Request) (keys []string) {
	t.Helper()
	body, err := req.GetBody()
	if err != nil {
		t.Error(err)
		return nil
	}
	var message struct {
		Items []struct{ IdempotencyKey string }
	}
	if err := json.NewDecoder(body).Decode(&message); err != nil {
		t.Error(err)
	}
	for _, item := range message.Items {
		keys = append(keys, item.IdempotencyKey)
	}
	return keys
}

// What is tracked is recorded by the sidecar, each once, also when it was away in the meantime; the
// rest is recorded at the end.
func TestProvider_tracks_each_use_once(t *testing.T) {
	s := serve(t, porttest.Addr(t))
	var l losses
	p, err := sidecar.New(s.target(), sidecar.Options{TrackLost: l.lose})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Init(openfeature.EvaluationContext{}); err != nil {
		t.Fatal(err)
	}
	track := func(n int) {
		for range n {
			p.Track(t.Context(), "exports", openfeature.NewEvaluationContext("bob", map[string]any{"teamId": "globex"}), openfeature.NewTrackingEventDetails(1))
		}
	}
	used := func() int64 { return s.exported() }
	track(5)
	await(t, "the first five are recorded", func() bool { return used() == 5 })
	s.down()
	track(10)
	s.up()
	await(t, "ten more are", func() bool { return used() == 15 })
	track(20)
	p.Shutdown()
	await(t, "all are", func() bool { return used() == 35 })
	if p.LostEvents() != 0 || l.told != nil {
		t.Errorf("lost %q", l.told)
	}
}

// What the sidecar refuses is lost, and told with the reason.
func TestProvider_tells_what_the_sidecar_does_not_record(t *testing.T) {
	s := serve(t, porttest.Addr(t))
	var l losses
	p, err := sidecar.New(s.target(), sidecar.Options{TrackLost: l.lose})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Init(openfeature.EvaluationContext{}); err != nil {
		t.Fatal(err)
	}
	bob := openfeature.NewEvaluationContext("bob", nil)
	large := openfeature.NewTrackingEventDetails(1).Add("text", strings.Repeat("x", 1_000_000))
	p.Track(t.Context(), "exports", bob, openfeature.NewTrackingEventDetails(2))
	p.Track(t.Context(), "exports", bob, large)
	p.Track(t.Context(), "exports", bob, openfeature.NewTrackingEventDetails(1).Add("text", strings.Repeat("x", 20_000)))
	p.Track(t.Context(), "bad\nname", bob, openfeature.TrackingEventDetails{})
	p.Shutdown()
	slices.Sort(l.told)
	if p.LostEvents() != 3 || len(l.told) != 3 || !strings.Contains(strings.Join(l.told, "\n"), "too large") {
		t.Errorf("lost %d: %.300q", p.LostEvents(), l.told)
	}
}
