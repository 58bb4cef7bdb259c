package evaluator_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
)

// What a limit comes to for a subject is what a plain reading of its exceptions says, and it
// stays so until the time that the claim names.
func TestGate_exceptions_are_what_they_say(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		amount := func(label string) int64 {
			return rapid.OneOf(rapid.Int64Range(0, 20), rapid.Just(tiergate.MaxAmount), rapid.Just(tiergate.MaxAmount-3)).Draw(rt, label)
		}
		when := func(label string) time.Time {
			if n := rapid.IntRange(-3, 4).Draw(rt, label); n < 4 {
				return now.Add(time.Duration(n) * time.Minute)
			}
			return time.Time{}
		}
		plan := amount("plan")
		amounts := map[string]*int64{"free": &plan}
		if rapid.IntRange(0, 3).Draw(rt, "unlimited") == 0 {
			amounts["free"] = nil
		}
		changes := []tiergate.Change{limitOf("l", "x", func(l *tiergate.Limit) { l.Scope = "user" }, amounts)}
		var override *tiergate.Override
		if rapid.Bool().Draw(rt, "override") {
			override = &tiergate.Override{ID: "o", UserID: "carol", LimitKey: "l", ExpiresAt: when("override ends")}
			if n := amount("override"); rapid.IntRange(0, 3).Draw(rt, "lifts") > 0 {
				override.Amount = &n
			}
			changes = append(changes, tiergate.PutOf(override))
		}
		var grants []*tiergate.Grant
		for i := range rapid.IntRange(0, 3).Draw(rt, "grants") {
			grant := &tiergate.Grant{ID: name("g", i), UserID: "carol", LimitKey: "l", Amount: amount("grant"), StartsAt: when("starts"), ExpiresAt: when("ends")}
			grants = append(grants, grant)
			changes = append(changes, tiergate.PutOf(grant))
		}
		changes = append(changes, tiergate.PutOf(&tiergate.Override{ID: "other", UserID: "dave", LimitKey: "l"}), tiergate.PutOf(&tiergate.Override{ID: "other's", UserID: "carol", LimitKey: "k"}))
		plain := func(at time.Time) (int64, bool) {
			n := amounts["free"]
			if override != nil && (override.ExpiresAt.IsZero() || at.Before(override.ExpiresAt)) {
				n = override.Amount
			}
			if n == nil {
				return 0, false
			}
			sum := *n
			for _, g := range grants {
				if !at.Before(g.StartsAt) && (g.ExpiresAt.IsZero() || at.Before(g.ExpiresAt)) {
					sum = min(sum+g.Amount, tiergate.MaxAmount)
				}
			}
			return sum, true
		}
		g, c := demoGate(t, changes...)
		for minute := range 5 {
			c.now = now.Add(time.Duration(minute) * time.Minute)
			want, limited := plain(c.now)
			if _, err := g.Track(t.Context(), use("x", "carol", "")); err != nil {
				rt.Fatal(err)
			}
			claims := c.takes[len(c.takes)-1].Claims
			if len(claims) > 0 != limited || limited && claims[0].Amount != want {
				rt.Fatalf("in minute %d the claims are %+v; want %d, limited: %v", minute, claims, want, limited)
			}
		}
	})
}

// A rate keeps its burst in proportion when an exception changes its amount.
func TestGate_burst_of_an_exception(t *testing.T) {
	ten, thousand, huge := int64(10), int64(1000), tiergate.MaxAmount
	for _, tc := range []struct {
		plan  *int64
		other *int64
		want  int64
	}{{&ten, &thousand, 2000}, {&ten, new(int64(5)), 10}, {&ten, &huge, huge}, {nil, &ten, 10}, {new(int64(0)), &ten, 10}, {&ten, new(int64(0)), 0}} {
		bursts := map[string]int64{}
		if tc.plan == &ten {
			bursts["free"] = 20
		}
		g, c := demoGate(t,
			limitOf("r", "x", func(l *tiergate.Limit) { l.Kind, l.Scope, l.Period, l.Bursts = tiergate.Rate, "user", "second", bursts }, map[string]*int64{"free": tc.plan}),
			tiergate.PutOf(&tiergate.Override{ID: "o", UserID: "carol", LimitKey: "r", Amount: tc.other}))
		if _, err := g.Track(t.Context(), use("x", "carol", "")); err != nil {
			t.Fatal(err)
		}
		if got := c.takes[0].Claims[0]; got.Burst != tc.want || got.Amount != *tc.other {
			t.Errorf("%+v, want a burst of %d", got, tc.want)
		}
	}
}
