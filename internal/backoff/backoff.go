// Package backoff says how long to wait before the next attempt at somebody who is away.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// A Backoff is the waits between attempts: doubling from First to Most, each drawn evenly from its
// upper half, so that a fleet does not come back in step. It is not safe for concurrent use.
type Backoff struct {
	First, Most time.Duration
	failures    int
}

// Reset is for an attempt that succeeded.
func (b *Backoff) Reset() { b.failures = 0 }

// Next is the wait after one more failure.
func (b *Backoff) Next() time.Duration {
	limit := b.Most
	if b.failures < 16 {
		limit = min(b.Most, b.First<<b.failures)
	}
	b.failures++
	return limit/2 + rand.N(limit/2+1)
}

// Sleep waits for d and reports false when ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
