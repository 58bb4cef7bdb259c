package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/server/ops"
)

const (
	ledgerLook   = 30 * time.Second // how often the whole ledger is looked at
	ledgerRetain = 6 * time.Hour    // how often old usage is taken out
)

// retentionOptions say how long what grows with usage is kept.
type retentionOptions struct {
	KeepEvents time.Duration `help:"For how long single usage events are kept, in whole months." default:"9600h"`
	KeepSums   time.Duration `help:"For how long the sums of usage and denials by hour and day are kept." default:"19200h"`
	KeepKeys   time.Duration `help:"For how long idempotency keys of usage are kept; at least 840h." default:"960h"`
}

// watchLedger looks at the whole ledger for operators and takes out what is old, until ctx
// ends. When the database is away it does so later.
func (d *doors) watchLedger(ctx context.Context, db *postgres.DB, o retentionOptions) error {
	policy := postgres.Retention{Events: o.KeepEvents, Sums: o.KeepSums, Keys: o.KeepKeys}
	var retained time.Time
	for {
		at := time.Now()
		units, lost, err := db.Forfeited(ctx)
		if err == nil {
			d.ledger.Store(&ops.Ledger{Forfeited: units, Lost: lost, AsOf: at})
		} else {
			d.ledger.CompareAndSwap(nil, &ops.Ledger{}) // nobody could look yet
		}
		if err == nil && time.Since(retained) >= ledgerRetain {
			retained = time.Now()
			done, err := db.Retain(ctx, policy)
			if ctx.Err() == nil {
				d.log.LogAttrs(ctx, levelOf(err), "old usage taken out", slog.Any("done", done), slog.Any("error", err))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(ledgerLook):
		}
	}
}

func levelOf(err error) slog.Level {
	if err != nil {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}
