package sidecar_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
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

// What is tracked is recorded by the sidecar, each once, also when it was away in the meantime; the
// rest is recorded at the end.
func TestProvider_tracks_each_use_once(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
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
	used := func() int64 {
		v, err := s.gate.Check(t.Context(), &tiergate.Use{Request: tiergate.Request{Flag: "exports", UserID: "bob"}})
		if err != nil {
			t.Fatal(err)
		}
		return 50 - v.Limits[0].Min
	}
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
	s := serve(t, "127.0.0.1:0")
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
