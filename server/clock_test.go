package server_test

import (
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// Hours and days turn in UTC, wherever the server stands, and a turn is never now.
func TestNextTurn(t *testing.T) {
	at := func(text string) time.Time {
		t.Helper()
		parsed, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	for _, tc := range []struct {
		steps     tiergate.ClockStep
		now, next string
	}{
		{tiergate.StepHour, "2026-11-29T14:20:01.5Z", "2026-11-29T15:00:00Z"},
		{tiergate.StepHour, "2026-11-29T15:00:00Z", "2026-11-29T16:00:00Z"},
		{tiergate.StepHour, "2026-11-29T14:20:01+05:30", "2026-11-29T09:00:00Z"},
		{tiergate.StepDay, "2026-11-29T14:20:01Z", "2026-11-30T00:00:00Z"},
		{tiergate.StepDay, "2026-11-29T23:30:00-02:00", "2026-12-01T00:00:00Z"},
		{tiergate.StepDay, "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"},
	} {
		got := server.NextTurn(tc.steps, at(tc.now))
		if !got.Equal(at(tc.next)) {
			t.Errorf("step %d at %s: %s, want %s", tc.steps, tc.now, got, tc.next)
		}
		if before, after := server.Turn(tc.steps, at(tc.now)), server.Turn(tc.steps, got); after != before+1 || server.Turn(tc.steps, got.Add(-1)) != before {
			t.Errorf("step %d at %s is number %d, and that from %s is %d", tc.steps, tc.now, before, got, after)
		}
	}
	for _, steps := range []tiergate.ClockStep{tiergate.StepNever, tiergate.StepAlways} {
		if got := server.NextTurn(steps, at("2026-11-29T14:20:01Z")); !got.IsZero() {
			t.Errorf("step %d: %s, want none", steps, got)
		}
	}
}

// The more clients there are, the longer the time that they are spread over; alone one waits for
// no longer than the least.
func TestSpread(t *testing.T) {
	for _, tc := range []struct {
		clients     int
		least, most time.Duration
	}{{0, 0, 1}, {1, 0, 50 * time.Microsecond}, {1, time.Second, time.Second}, {10_000, time.Millisecond, 500 * time.Millisecond}} {
		longest := time.Duration(0)
		for range 1000 {
			longest = max(longest, server.Spread(tc.clients, tc.least))
		}
		if longest >= tc.most || longest < tc.most*9/10 {
			t.Errorf("%d clients, at least %v: the longest is %v, of %v", tc.clients, tc.least, longest, tc.most)
		}
	}
}
