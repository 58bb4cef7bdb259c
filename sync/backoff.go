package syncer

import (
	"context"
	"math/rand/v2"
	"time"
)

// The waits between two attempts at a source that is away: doubling, each drawn evenly
// from its upper half, so that a fleet does not come back in step.
const (
	firstWait = 100 * time.Millisecond
	mostWait  = 5 * time.Second
	mostAnew  = time.Minute // between whole states that were not enough
)

// A backoff is how long to wait before the next attempt, most at most.
type backoff struct {
	most     time.Duration
	failures int
}

func (b *backoff) reset() { b.failures = 0 }

func (b *backoff) next() time.Duration {
	limit := b.most
	if b.failures < 16 {
		limit = min(b.most, firstWait<<b.failures)
	}
	b.failures++
	return limit/2 + rand.N(limit/2+1)
}

// sleep waits for d and reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
