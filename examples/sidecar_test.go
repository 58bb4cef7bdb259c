package examples_test

import (
	"context"
	"encoding/json"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/decision"
)

// sidecar runs what answers the examples until the test ends, and returns its address: the real
// door, over a gate that knows the demo's three users.
func sidecar(t *testing.T) (addr string) {
	t.Helper()
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	door := decision.New(decision.Config{Evaluator: inForce{}, Gate: &gate{used: map[string]int64{}, keys: map[string]bool{}}})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, server.NewApp(server.Config{}, door), ln, 5*time.Second) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// inForce is an evaluator that is asked for its revision only.
type inForce struct{}

func (e inForce) Generation() tiergate.Generation                 { return e }
func (inForce) Resume() tiergate.Resume                           { return tiergate.Resume{Epoch: "0123456789abcdef", Rev: 7} }
func (inForce) Decide(*tiergate.Request) tiergate.Decision        { panic("not asked") }
func (inForce) All(*tiergate.Request) iter.Seq[tiergate.Decision] { panic("not asked") }
func (inForce) HasSet(string) bool                                { panic("not asked") }
func (inForce) SetMetadata(string) json.RawMessage                { panic("not asked") }
func (inForce) Steps(string) tiergate.ClockStep                   { panic("not asked") }

// gate knows alice on enterprise, bob on pro and carol on free: white-label is for enterprise,
// and exports are three a day on free, fifty on pro, and without limit on enterprise.
type gate struct {
	mu   sync.Mutex
	used map[string]int64
	keys map[string]bool
}

func (g *gate) Check(_ context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	return g.decide(u, false), nil
}

func (g *gate) Consume(_ context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	return g.decide(u, true), nil
}

func (g *gate) Track(context.Context, *tiergate.Use) (tiergate.Verdict, error) { panic("not asked") }

func (g *gate) decide(u *tiergate.Use, take bool) tiergate.Verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	user := strings.Clone(u.UserID)
	tier := map[string]string{"alice": "enterprise", "bob": "pro"}[user]
	v := tiergate.Verdict{Allow: true, Reason: tiergate.UseAllowed, Decision: tiergate.Decision{Tier: tier}}
	if tier == "" {
		v.Decision.Tier = "free"
	}
	deny := func(reason tiergate.UseReason) { v.Allow, v.Reason = false, reason }
	amount := map[string]int64{"free": 3, "pro": 50}[v.Decision.Tier]
	switch {
	case u.Flag == "white-label" && tier == "enterprise", u.Flag == "exports" && amount == 0:
		return v
	case u.Flag == "white-label":
		deny(tiergate.UseTier)
		return v
	case u.Flag != "exports":
		deny(tiergate.UseFlagNotFound)
		return v
	case u.IdempotencyKey != "" && g.keys[u.IdempotencyKey]:
		v.Replayed = true
	case g.used[user] >= amount:
		deny(tiergate.UseExhausted)
		v.Denied, v.RetryAfter = "exports-daily", time.Hour
	case take:
		g.used[user]++
		g.keys[strings.Clone(u.IdempotencyKey)] = true
	}
	left := amount - g.used[user]
	v.Limits = []tiergate.LimitState{{
		Key: "exports-daily", Kind: tiergate.Quota, Period: "day", Amount: amount, Min: left, Max: left, Exact: true, AsOf: time.Now(), ResetsIn: time.Hour,
	}}
	return v
}
