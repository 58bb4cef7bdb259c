package sdk

import (
	"context"
	"math/rand/v2"
	"time"
)

// A Backoff is how long to wait before the next attempt at somebody who is away: doubling from
// First to Most, each drawn evenly from its upper half, so that a fleet does not come back in step.
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
	return jittered(limit)
}

func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
