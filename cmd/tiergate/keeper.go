package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tiergate/tiergate/internal/localpg"
)

// A server that lived shorter than steadyAfter has not started well. After maxStarts such
// starts in a row the trouble is not one that another start mends.
const (
	steadyAfter = time.Minute
	maxStarts   = 4
	firstWait   = 250 * time.Millisecond // before a second start in a row; then doubled
)

// A keeper keeps a private Postgres running: one that ended by itself, or that somebody
// killed, is started again on the same data and the same socket. Everything else follows
// by itself, as when any Postgres restarts.
type keeper struct {
	config localpg.Config
	log    *slog.Logger

	mu      sync.Mutex
	cluster *localpg.Cluster
}

// keepPostgres starts the Postgres. run watches it; close stops it.
func keepPostgres(ctx context.Context, cfg localpg.Config, log *slog.Logger) (*keeper, error) {
	cluster, err := localpg.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &keeper{config: cfg, log: log, cluster: cluster}, nil
}

func (k *keeper) current() *localpg.Cluster {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cluster
}

// run returns nil when ctx ends, and an error when the Postgres ended and cannot be had again.
func (k *keeper) run(ctx context.Context) error {
	starts, since := 0, time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.current().Done():
		}
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(since) > steadyAfter {
			starts = 0
		}
		k.log.Warn("postgres ended by itself and is started again", "pid", k.current().Pid())
		_ = k.close() // it has ended; this gives its folder free
		if starts++; starts > maxStarts {
			return fmt.Errorf("the private Postgres ended %d times within a minute of its start", maxStarts)
		}
		if err := k.start(ctx, &starts); err != nil {
			return err
		}
		since = time.Now()
	}
}

// start starts the Postgres, as often as there are starts left. What a killed server
// leaves behind may take a moment to be gone.
func (k *keeper) start(ctx context.Context, starts *int) error {
	for wait := firstWait; ; wait *= 2 {
		cluster, err := localpg.Start(ctx, k.config)
		switch {
		case err == nil:
			k.mu.Lock()
			k.cluster = cluster
			k.mu.Unlock()
			return nil
		case ctx.Err() != nil:
			return nil
		case *starts >= maxStarts:
			return fmt.Errorf("the private Postgres ended and does not start again: %w", err)
		}
		*starts++
		k.log.Warn("postgres does not start", "error", err, "retry", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// close stops the Postgres that runs, if one does.
func (k *keeper) close() error { return k.current().Close() }
