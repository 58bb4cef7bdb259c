package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/client"
)

const held = `{"id":%q,"state":"HELD","feature":"train","subject":{"user":"alice","team":"acme"},"holds":[{"limit":"train-month","kind":"quota","scope":"team","period":"2026-03","units":3}],"createdAt":"2026-03-01T12:00:00Z","expiresAt":"2026-03-01T12:01:00Z"}`

// shelf keeps one reservation, as the sidecar would, on the time of the test.
type shelf struct {
	transport
	now      func() time.Time
	expires  time.Time
	id       string
	calls    []string
	unstable func(action string) error // makes an action fail on its way
}

func newShelf(now func() time.Time) *shelf {
	s := &shelf{now: now, unstable: func(string) error { return nil }}
	s.answer = func(_ int, r *http.Request) (*http.Response, error) { return s.act(r) }
	return s
}

func (s *shelf) act(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var body struct {
		ID     string
		TTL    int64 `json:"ttlMs"`
		Actual *int64
		Capped bool
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	action := strings.TrimPrefix(r.URL.Path, "/v1/reservations")
	s.calls = append(s.calls, action)
	if err := s.unstable(action); err != nil {
		return nil, err
	}
	_, verb, _ := strings.Cut(strings.TrimPrefix(action, "/"), "/")
	switch {
	case action == "":
		s.id, s.expires = body.ID, s.now().Add(time.Duration(body.TTL)*time.Millisecond)
		return response(200, "application/json", strings.TrimSuffix(allowed, "}")+`,"reservation":`+fmt.Sprintf(held, s.id)+`}`)
	case !s.now().Before(s.expires):
		return response(410, "application/problem+json", `{"code":"gone","status":410,"detail":"its time is over"}`)
	case verb == "extend":
		s.expires = s.now().Add(time.Duration(body.TTL) * time.Millisecond)
	}
	text := fmt.Sprintf(held, s.id)
	if verb == "commit" {
		text = strings.Replace(text, "HELD", "COMMITTED", 1)
		if body.Actual != nil {
			text = strings.Replace(text, `"createdAt"`, fmt.Sprintf(`"actual":%d,"createdAt"`, *body.Actual), 1)
		}
	}
	return response(200, "application/json", `{"reservation":`+text+`,"revision":"r"}`)
}

func (s *shelf) count(suffix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.calls {
		if strings.HasSuffix(c, suffix) {
			n++
		}
	}
	return n
}

// A reservation is held as long as the job runs, however long, and settled with what was used.
func TestHold_extends_until_it_is_settled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(time.Now)
		c := newClient(t, "http://sidecar", client.Options{HTTP: &http.Client{Transport: s}})
		h, d, err := c.Hold(t.Context(), client.Use{Feature: "train", Cost: 3}, time.Minute)
		if err != nil || !d.Allow || h.Reservation.ID == "" || h.Reservation.Holds[0] != (client.Hold{Limit: "train-month", Kind: tiergate.Quota, Scope: "team", Period: "2026-03", Units: 3}) {
			t.Fatalf("%+v, %+v, %v", h, d, err)
		}
		time.Sleep(time.Hour)
		r, err := h.Commit(t.Context(), client.Actual{Units: 2})
		if err != nil || r.State != tiergate.ReservationCommitted || r.Actual != 2 {
			t.Errorf("commit: %+v, %v", r, err)
		}
		if n := s.count("/extend"); n < 150 || n > 181 {
			t.Errorf("extended %d times in an hour", n)
		}
		n := s.count("/extend")
		time.Sleep(time.Hour)
		if s.count("/extend") != n {
			t.Error("it is extended after it was settled")
		}
		select {
		case <-h.Lost():
			t.Error("what was settled here is no loss")
		default:
		}
	})
}

// While the sidecar is away the job goes on as long as the reservation surely holds; then it is
// told.
func TestHold_is_lost_when_its_time_is_over(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(time.Now)
		c := newClient(t, "http://sidecar", client.Options{HTTP: &http.Client{Transport: s}})
		h, _, err := c.Hold(t.Context(), client.Use{Feature: "train"}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Second) // extended after 20 and 40 seconds
		s.mu.Lock()
		s.unstable = func(string) error { return errors.New("connection refused") }
		s.mu.Unlock()
		start := time.Now()
		<-h.Lost()
		if lasted := time.Since(start); lasted < 40*time.Second || lasted > 75*time.Second {
			t.Errorf("it is lost after %v", lasted)
		}
		if _, err := h.Release(t.Context()); tiergate.CodeOf(err) != tiergate.Unavailable {
			t.Errorf("release: %v", err)
		}
	})
}

// A sidecar that is away for less than that costs nothing.
func TestHold_survives_a_short_outage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(time.Now)
		c := newClient(t, "http://sidecar", client.Options{HTTP: &http.Client{Transport: s}})
		h, _, err := c.Hold(t.Context(), client.Use{Feature: "train"}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		s.mu.Lock()
		s.unstable = func(string) error {
			if time.Since(start) < 30*time.Second {
				return errors.New("connection refused")
			}
			return nil
		}
		s.mu.Unlock()
		time.Sleep(10 * time.Minute)
		if r, err := h.Release(t.Context()); err != nil || r.ID != h.Reservation.ID {
			t.Errorf("release: %+v, %v", r, err)
		}
	})
}

// Somebody else settles it: the job is told with the next extension.
func TestHold_is_lost_when_another_settles_it(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(time.Now)
		c := newClient(t, "http://sidecar", client.Options{HTTP: &http.Client{Transport: s}})
		h, _, err := c.Hold(t.Context(), client.Use{Feature: "train"}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.expires = time.Now()
		s.mu.Unlock()
		start := time.Now()
		<-h.Lost()
		if lasted := time.Since(start); lasted != 20*time.Second {
			t.Errorf("it is lost after %v", lasted)
		}
		if _, err := h.Commit(t.Context(), client.Actual{Units: -1, Capped: true}); tiergate.CodeOf(err) != tiergate.Gone {
			t.Errorf("commit: %v", err)
		}
	})
}

// A reservation that is denied holds nothing, and what can never be held is refused unsent.
func TestHold_denied(t *testing.T) {
	tr := &transport{answer: func(int, *http.Request) (*http.Response, error) {
		return response(429, "application/problem+json", `{"type":"t","allow":false,"status":429,"reason":"CONCURRENCY","deniedBy":"slots","limits":[],"reservation":null}`)
	}}
	c := newClient(t, "http://sidecar", client.Options{HTTP: &http.Client{Transport: tr}})
	h, d, err := c.Hold(t.Context(), client.Use{Feature: "train"}, time.Minute)
	if h != nil || err != nil || d.Allow || d.Reason != tiergate.UseConcurrency || d.DeniedBy != "slots" {
		t.Errorf("%+v, %+v, %v", h, d, err)
	}
	if _, _, err := c.Hold(t.Context(), client.Use{Feature: "train"}, 0); tiergate.CodeOf(err) != tiergate.Invalid || len(tr.bodies) != 1 {
		t.Errorf("no time: %v after %d calls", err, len(tr.bodies))
	}
}

// The calls about one reservation name it in their path, and say what they are told to.
func TestReservation_calls(t *testing.T) {
	s := newShelf(time.Now)
	c := newClient(t, "http://sidecar", client.Options{HTTP: &http.Client{Transport: s}})
	r, d, err := c.Reserve(t.Context(), client.Use{Feature: "train", IdempotencyKey: "job-7"}, 0)
	if err != nil || !d.Allow || r.ID != "job-7" || r.State != tiergate.ReservationHeld || r.Subject.Team != "acme" {
		t.Fatalf("%+v, %+v, %v", r, d, err)
	}
	if want := `{"feature":"train","id":"job-7"}`; s.bodies[0] != want {
		t.Errorf("reserved with %s, want %s", s.bodies[0], want)
	}
	s.expires = time.Now().Add(time.Hour)
	_, e1 := c.Extend(t.Context(), "job-7", 90*time.Second)
	_, e2 := c.Reservation(t.Context(), "job-7")
	asHeld, e3 := c.Commit(t.Context(), "job-7", client.Actual{Units: -1})
	none, e4 := c.Commit(t.Context(), "job-7", client.Actual{Units: 0, Capped: true})
	_, e5 := c.Release(t.Context(), "a/b")
	if err := errors.Join(e1, e2, e3, e4, e5); err != nil {
		t.Error(err)
	}
	if asHeld.Actual >= 0 || none.Actual != 0 || asHeld.State != tiergate.ReservationCommitted {
		t.Errorf("committed as held: %+v, and none: %+v", asHeld, none)
	}
	want := []string{`{"ttlMs":90000}`, ``, `{"capped":false}`, `{"actual":0,"capped":true}`, `{}`}
	for i, body := range s.bodies[1:] {
		if body != want[i] {
			t.Errorf("call %d sent %s, want %s", i, body, want[i])
		}
	}
	if s.calls[4] != "/job-7/commit" {
		t.Errorf("calls %q", s.calls)
	}
}
