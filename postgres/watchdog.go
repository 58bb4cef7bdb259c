package postgres

import (
	"context"
	"time"
)

// watchedRows is how many rows are read per look at the watchdog.
const watchedRows = 256

// A watchdog ends a long read when nothing comes for as long as our patience lasts. It is
// fed while we wait for the database and paused while the follower works. Used by one
// goroutine.
type watchdog struct {
	patience time.Duration
	timer    *time.Timer
	cancel   context.CancelCauseFunc
}

func newWatchdog(ctx context.Context, patience time.Duration) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &watchdog{patience: patience, cancel: cancel, timer: time.AfterFunc(patience, func() { cancel(errSilent) })}
}

func (w *watchdog) feed()  { w.timer.Reset(w.patience) }
func (w *watchdog) pause() { w.timer.Stop() }

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(nil)
}
