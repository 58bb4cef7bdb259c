package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
)

// drainTime is how long requests that are under way may take once the program is told to end.
const drainTime = 5 * time.Second

// A job runs until its context ends, and returns nil then; an earlier end is its error.
type job func(ctx context.Context) error

// together runs jobs until ctx ends or one of them fails; the others are then told to end,
// and waited for. It returns that failure.
func together(ctx context.Context, jobs ...job) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	for _, run := range jobs {
		wg.Go(func() {
			if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				stop(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (o listenOptions) on(flag string, log *slog.Logger) listen.Options {
	return listen.Options{
		Flag: flag, Cert: o.TLSCert, Key: o.TLSKey, ClientCA: o.TLSClientCA, Insecure: o.Insecure, Log: log,
		Timeouts: server.Timeouts,
	}
}
