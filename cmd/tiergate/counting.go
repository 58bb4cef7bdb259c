package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/quota"
	"github.com/tiergate/tiergate/quota/spool"
	"github.com/tiergate/tiergate/server/ops"
)

// usageOptions are about counting limits and recording usage.
type usageOptions struct {
	UsageMaxBytes int64         `help:"Most bytes of usage that may wait on disk for the ledger; beyond it uses are refused." default:"1073741824"`
	UsageKeep     time.Duration `help:"For how long usage is kept that the ledger has, for a database that loses its newest transactions in a failover." default:"10m"`
	RateKeys      int           `help:"How many rate limits are remembered at once." default:"1000000"`
	RateShares    int           `help:"Into how many parts a rate that all sidecars share is cut while the ledger is away." default:"16"`
}

// A counter is what counts limits and usage: the quota engine over its ledger.
type counter struct {
	engine *quota.Engine
	gate   *evaluator.Gate
	ledger *postgres.Ledger // nil with a file source
}

// openCounter opens the usage log and begins to count. With a file source the ledger is this
// process's own memory.
func openCounter(source string, r *replica, dataDir string, o usageOptions, log *slog.Logger) (*counter, error) {
	c := &counter{}
	options := quota.Options{
		Dir: filepath.Join(dataDir, "quota"), Log: log, RateKeys: o.RateKeys, FallbackShares: o.RateShares,
		Spool: spool.Options{MaxBytes: o.UsageMaxBytes, Keep: o.UsageKeep},
	}
	if strings.HasPrefix(source, "file:") {
		var own quota.Memory
		options.Ledger, options.Reservations, options.Gauges = &own, &own, &own
	} else {
		var err error
		if c.ledger, err = postgres.NewLedger(postgres.Config{URL: source, Log: log}); err != nil {
			return nil, err
		}
		options.Ledger, options.Reservations, options.Gauges = c.ledger, c.ledger, c.ledger
	}
	var err error
	if c.engine, err = quota.Open(options); err != nil {
		c.closeLedger()
		return nil, err
	}
	c.gate = evaluator.NewGate(r.engine, c.engine)
	return c, nil
}

// handBack is how long a process that ends takes at most to upload its usage and give back
// what it holds. What is left is done at the next start.
const handBack = 10 * time.Second

// close ends counting, after the doors.
func (c *counter) close(log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), handBack)
	defer cancel()
	if err := c.engine.Close(ctx); err != nil {
		log.Error("end counting", "error", err)
	}
	c.closeLedger()
}

func (c *counter) closeLedger() {
	if c.ledger != nil {
		c.ledger.Close()
	}
}

// usage tells how counting does.
func (c *counter) usage() *ops.Usage {
	s := c.engine.Stats()
	u := &ops.Usage{
		Holder: s.Holder, LedgerAway: s.LedgerAway, LastHeard: s.LastHeard.UTC(), Leases: s.Leases, Held: s.Held, Former: s.Former,
		Abandoned: s.Abandoned, Accepted: s.Accepted, Denied: map[string]int64{}, Unrecorded: s.Unrecorded, Duplicates: s.Duplicates,
		Reused: s.Reused, Unreadable: s.Unreadable, Exchanges: s.Exchanges, Failures: s.Failures, Fenced: s.Fenced,
		UploadFailures: s.UploadErrors,
		Log: ops.UsageLog{
			Records: s.Spool.Records, Bytes: s.Spool.Bytes, OldestMs: s.Spool.Oldest.Milliseconds(), Oldest: s.Spool.Oldest,
			Rejected: s.Spool.Rejected, Quarantined: int(s.Spool.Quarantined), Conflicts: s.Conflicts,
		},
	}
	if s.Spool.Trouble != nil {
		u.Log.Broken, u.Log.Error = s.Spool.Broken, s.Spool.Trouble.Error()
	}
	for reason, n := range s.Denied {
		u.Denied[string(reason)] = n
	}
	return u
}
