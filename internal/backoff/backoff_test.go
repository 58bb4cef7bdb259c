package backoff_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tiergate/tiergate/internal/backoff"
)

// The waits double up to the longest, each from its upper half, however long it lasts; after a
// success they begin anew.
func TestBackoff_doubles_to_the_longest(t *testing.T) {
	b := backoff.Backoff{First: 100 * time.Millisecond, Most: 5 * time.Second}
	for range 3 {
		limit := b.First
		for n := range 100 {
			if got := b.Next(); got < limit/2 || got > limit {
				t.Errorf("wait %d is %v, want %v to %v", n, got, limit/2, limit)
			}
			limit = min(2*limit, b.Most)
		}
		b.Reset()
	}
}

// Two who fail together do not come back together.
func TestBackoff_is_drawn(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 20 {
		b := backoff.Backoff{First: time.Second, Most: time.Minute}
		seen[b.Next()] = true
	}
	if len(seen) < 2 {
		t.Errorf("all wait for %v", seen)
	}
}

// A wait ends with its context, and says which of the two ended first.
func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if !backoff.Sleep(ctx, time.Second) || time.Since(began) != time.Second {
			t.Errorf("a second took %v", time.Since(began))
		}
		if backoff.Sleep(ctx, time.Hour) || time.Since(began) != time.Minute {
			t.Errorf("an hour ended after %v, with a context of a minute", time.Since(began))
		}
	})
}

// A wait of no time is over at once.
func TestSleep_no_time(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		for _, d := range []time.Duration{-time.Second, 0} {
			if !backoff.Sleep(t.Context(), d) || time.Since(began) != 0 {
				t.Errorf("%v took %v", d, time.Since(began))
			}
		}
	})
}
