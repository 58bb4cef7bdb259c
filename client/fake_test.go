package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/decision"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var resume = tiergate.Resume{Epoch: "0123456789abcdef", Rev: 7}

// inForce is an evaluator that is asked for its revision only.
type inForce struct{}

func (e inForce) Generation() tiergate.Generation                 { return e }
func (inForce) Resume() tiergate.Resume                           { return resume }
func (inForce) Decide(*tiergate.Request) tiergate.Decision        { panic("not asked") }
func (inForce) All(*tiergate.Request) iter.Seq[tiergate.Decision] { panic("not asked") }
func (inForce) HasSet(string) bool                                { panic("not asked") }
func (inForce) SetMetadata(string) json.RawMessage                { panic("not asked") }
func (inForce) Steps(string) tiergate.ClockStep                   { panic("not asked") }

// gate lets each user use exports three times a day, and nobody white-label; a key counts once.
type gate struct {
	mu   sync.Mutex
	uses []string
	used map[string]int64
	keys map[string]bool
}

func newGate() *gate { return &gate{used: map[string]int64{}, keys: map[string]bool{}} }

func (g *gate) door() server.Door {
	return decision.New(decision.Config{
		Evaluator: inForce{}, Gate: g, Reservations: noReservations{}, Now: func() time.Time { return now },
	})
}

func (g *gate) last() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.uses[len(g.uses)-1]
}

func (g *gate) usedBy(user string) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.used[user]
}

func (g *gate) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.used)
	clear(g.keys)
}

func (g *gate) ask(verb string, u *tiergate.Use, takes bool) (tiergate.Verdict, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	asked := fmt.Sprint(verb, " ", u.Flag, " ", u.UserID, " ", u.TeamID, " ", u.Cost, " ", u.IdempotencyKey, " ", string(u.Metadata))
	if !u.At.IsZero() {
		asked += u.At.Format(time.RFC3339)
	}
	g.uses = append(g.uses, asked)
	v := tiergate.Verdict{Allow: true, Reason: tiergate.UseAllowed, Resume: resume, ID: strings.Clone(u.IdempotencyKey)}
	v.Decision = tiergate.Decision{Variant: "on", Value: json.RawMessage("true"), Tier: "pro"}
	switch u.Flag {
	case "reused":
		return v, tiergate.Errorf(tiergate.KeyReused, "the key stands for another request")
	case "white-label":
		v.Allow, v.Reason = false, tiergate.UseTier
		v.Decision = tiergate.Decision{Variant: "off", Value: json.RawMessage("false"), Tier: "free", Upgrade: "enterprise"}
		return v, nil
	case "exports":
	default:
		v.Allow, v.Reason = false, tiergate.UseFlagNotFound
		return v, nil
	}
	cost := max(u.Cost, 1)
	user := strings.Clone(u.UserID)
	switch {
	case u.IdempotencyKey != "" && g.keys[u.IdempotencyKey]:
		v.Replayed = true
	case verb == "track":
	case g.used[user]+cost > 3:
		v.Allow, v.Reason, v.Denied, v.RetryAfter = false, tiergate.UseExhausted, "exports-day", time.Hour
	case takes:
		g.used[user] += cost
		g.keys[v.ID] = true
	}
	left := 3 - g.used[user]
	v.Limits = []tiergate.LimitState{{
		Key: "exports-day", Kind: tiergate.Quota, Period: "day", Amount: 3, Min: left, Max: left, Exact: true, AsOf: now, ResetsIn: time.Hour,
	}}
	return v, nil
}

func (g *gate) Check(_ context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	return g.ask("check", u, false)
}

func (g *gate) Consume(_ context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	return g.ask("consume", u, true)
}

func (g *gate) Track(_ context.Context, u *tiergate.Use) (tiergate.Verdict, error) {
	return g.ask("track", u, true)
}

// noReservations has none.
type noReservations struct{ tiergate.Reservations }

func (noReservations) Reservation(context.Context, string, tiergate.Owner) (tiergate.Reservation, error) {
	return tiergate.Reservation{}, tiergate.Errorf(tiergate.NotFound, "there is no such reservation")
}
