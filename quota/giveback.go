package quota

import (
	"context"
	"time"

	"github.com/tiergate/tiergate"
)

// giveBack gives back what is held of a bucket, and says whether that was anything. It waits
// until the ledger has heard of it, for as long as a call has patience.
func (e *Engine) giveBack(ctx context.Context, key tiergate.Bucket) bool {
	e.mu.RLock()
	a := e.accounts[key]
	e.mu.RUnlock()
	if a == nil {
		return false
	}
	a.mu.Lock()
	if a.rest() == 0 {
		a.mu.Unlock()
		return false
	}
	a.recalled = e.now() + int64(RecallFor)
	r := &returning{done: make(chan struct{})}
	a.backs = append(a.backs, r)
	a.mu.Unlock()
	e.enlist(a)
	timer := time.NewTimer(e.options.Patience)
	defer timer.Stop()
	select {
	case <-r.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	return true
}
