package quota

import (
	"sync/atomic"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota/spool"
)

// reasons are those for which this process denies, in the order in which they are counted.
var reasons = [...]tiergate.UseReason{
	tiergate.UseDisabled, tiergate.UseTier, tiergate.UsePolicy, tiergate.UseTargeting, tiergate.UseExhausted, tiergate.UseContended,
	tiergate.UseRateLimited, tiergate.UseConcurrency, tiergate.UseUnavailable, tiergate.UseFlagNotFound, tiergate.UseInvalid,
}

// counts are what happened since the start.
type counts struct {
	accepted, unrecorded        atomic.Int64
	exchanges, failures, fenced atomic.Int64
	uploadFailures, unreadable  atomic.Int64
	duplicates, reused          atomic.Int64
	conflicts, abandoned        atomic.Int64
	byReason                    [len(reasons)]atomic.Int64
}

func (c *counts) denied(reason tiergate.UseReason) {
	for i, r := range reasons {
		if r == reason {
			c.byReason[i].Add(1)
			return
		}
	}
}

// Stats is how an Engine does. Counts are since its start.
type Stats struct {
	Holder       string
	LedgerAway   bool
	LastHeard    time.Time // by the ledger's clock; zero before the first time
	Leases       int       // buckets that are known
	Held         int64     // units that may be spent without asking
	Accepted     int64     // uses that were recorded
	Denied       map[tiergate.UseReason]int64
	Unrecorded   int64 // uses that were not admitted because they could not be recorded
	Exchanges    int64
	Failures     int64 // exchanges without answer
	Fenced       int64 // times that another process had taken the holder's place
	Duplicates   int64 // events that had been counted by another process
	Reused       int64 // events whose key stood for another event
	UploadErrors int64
	Unreadable   int64 // records that could not be read
	Conflicts    int64 // times that the usage log was not what the ledger knows
	Abandoned    int64 // former processes whose leases are set aside until somebody reconciles them
	Former       int   // holders of before, former processes and this one's own, that are still to be retired
	Spool        spool.Stats
}

// Stats says how the engine does.
func (e *Engine) Stats() Stats {
	s := Stats{
		Holder: e.holder.Load().id, LedgerAway: e.away(), Denied: map[tiergate.UseReason]int64{},
		Accepted: e.counts.accepted.Load(), Unrecorded: e.counts.unrecorded.Load(),
		Exchanges: e.counts.exchanges.Load(), Failures: e.counts.failures.Load(), Fenced: e.counts.fenced.Load(),
		Duplicates: e.counts.duplicates.Load(), Reused: e.counts.reused.Load(), UploadErrors: e.counts.uploadFailures.Load(),
		Unreadable: e.counts.unreadable.Load(), Conflicts: e.counts.conflicts.Load(), Abandoned: e.counts.abandoned.Load(),
		Former: int(e.formers.Load()), Spool: e.usage.Stats(),
	}
	if h := e.heard.Load(); h != nil {
		s.LastHeard = h.at
	}
	for i, r := range reasons {
		if n := e.counts.byReason[i].Load(); n > 0 {
			s.Denied[r] = n
		}
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.departing != nil {
		s.Former++
	}
	s.Leases = len(e.accounts)
	for _, a := range e.accounts {
		a.mu.Lock()
		s.Held += a.rest()
		a.mu.Unlock()
	}
	return s
}
