package quota

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota/spool"
)

const (
	// maxUpload and maxUploadBytes bound the records of one upload.
	maxUpload      = 20_000
	maxUploadBytes = 8 << 20
	// gather is for how long usage gathers before it is uploaded.
	gather = 500 * time.Millisecond
	// countTime is how long the ledger may take to count an upload.
	countTime = 10 * time.Second
)

// uploads brings the usage log to the ledger until ctx ends.
func (e *Engine) uploads(ctx context.Context) {
	pause := lowestPause
	for more := false; ctx.Err() == nil; {
		if !more {
			e.writeDenials()
			e.retireFormer(ctx)
			pending, cancel := context.WithTimeout(ctx, heartbeat)
			err := e.usage.Pending(pending)
			cancel()
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				continue
			}
			sleep(ctx, gather)
		}
		var err error
		if more, err = e.upload(ctx); err == nil {
			pause = lowestPause
			continue
		}
		if ctx.Err() != nil {
			return
		}
		e.counts.uploadFailures.Add(1)
		e.log.Warn("usage cannot be uploaded", "error", err, "retry", pause)
		sleep(ctx, pause/2+rand.N(pause/2))
		pause, more = min(2*pause, 5*time.Second), true
	}
}

// upload brings one batch to the ledger, and says whether there may be more at once.
func (e *Engine) upload(ctx context.Context) (more bool, err error) {
	batch, err := e.usage.Read(maxUpload, maxUploadBytes)
	if err != nil || batch.From == batch.To {
		return false, err
	}
	u := tiergate.UsageBatch{
		Log: e.usage.ID(), From: batch.From, To: batch.To, Before: batch.Before, After: batch.After, Lost: e.lost,
	}
	if batch.Lost > 0 {
		e.log.Error("a part of the usage log does not read", "from", batch.From, "records", batch.Lost)
		e.distrust(batch.From + batch.Lost) // what is not known to be used may have been
	}
	u.Usage, u.Denials = e.fold(batch.Records)
	counting, cancel := context.WithTimeout(ctx, countTime)
	defer cancel()
	done, err := e.options.Ledger.Upload(counting, u)
	if err != nil {
		return false, err
	}
	if done.At != u.To || done.Hash != u.After {
		return true, e.relocate(u, done)
	}
	e.lost = false
	if err := e.usage.Advance(u.To); err != nil {
		return false, err
	}
	e.uploaded(u.Usage)
	e.counts.duplicates.Add(done.Duplicates)
	e.counts.reused.Add(done.Reused)
	return len(batch.Records) == maxUpload, nil
}

// fold takes the records of a batch apart. One that cannot be read is counted and passed
// over: it passed its checksum, so another version wrote it.
func (e *Engine) fold(records []spool.Record) ([]tiergate.Usage, []tiergate.Denial) {
	var f folder
	for i := range records {
		if err := f.add(records[i].ID, records[i].Payload); err != nil {
			e.counts.unreadable.Add(1)
			e.log.Error("a usage record cannot be read", "id", uuid.UUID(records[i].ID), "error", err)
		}
	}
	return f.usage, f.denials
}

// relocate goes on from where the ledger is. It is behind after it has lost its newest
// history, and ahead after an upload whose answer was lost, or that the disk of a former process
// did not take note of. When it tells of a place that our log has never been at, somebody else
// writes a log of the same name.
func (e *Engine) relocate(u tiergate.UsageBatch, at tiergate.Uploaded) error {
	e.log.Warn("the ledger has counted the usage log up to another place", "from", u.From, "to", u.To, "ledger", at.At)
	counted := e.ahead(u.From, at.At)
	err := e.usage.Rewind(at.At, at.Hash)
	switch {
	case err == nil:
		e.uploaded(counted)
		return nil
	case errors.Is(err, spool.ErrNotKept):
		e.log.Error("the ledger has lost usage that is no longer kept here", "from", at.At, "to", u.From)
		e.lost = true
		e.counts.conflicts.Add(1)
		e.distrust(u.From)
	case errors.Is(err, spool.ErrHistory):
		e.counts.conflicts.Add(1)
		e.distrust(e.usage.End())
		err = e.usage.Renew("the ledger knows another log of its name: is the folder a copy?")
		e.outlived.Store(true) // the next process believes the counters of the log that it finds
		e.wake()
	}
	return err
}

// ahead returns the usage between two places of the log, the first of which is the cursor's.
func (e *Engine) ahead(from, to int64) []tiergate.Usage {
	if to <= from {
		return nil
	}
	batch, err := e.usage.Read(int(to-from), math.MaxInt32)
	if err != nil || batch.To != to {
		return nil // it is not noted as counted, and so what was held is not forgotten
	}
	usage, _ := e.fold(batch.Records)
	return usage
}

// uploaded notes what the ledger has counted.
func (e *Engine) uploaded(all []tiergate.Usage) {
	for i := range all {
		for j := range all[i].Spends {
			s := &all[i].Spends[j]
			if s.Holder == "" {
				continue
			}
			e.countedOf(s)
			for k := range e.former {
				e.former[k].counted(s)
			}
		}
	}
}

// countedOf notes what the ledger has counted of this process's own use of a bucket.
func (e *Engine) countedOf(s *tiergate.Spend) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if d := e.departing; d != nil && d.id == s.Holder && d.slots[s.Bucket] != nil {
		d.slots[s.Bucket].upload(s.Units)
		return
	}
	if a := e.accounts[s.Bucket]; a != nil {
		a.mu.Lock()
		if a.holder == s.Holder {
			a.slot.upload(s.Units)
		}
		a.mu.Unlock()
	}
}

// writeDenials puts what was denied into the usage log. It is not waited for: a denial that
// a crash loses costs nobody anything.
func (e *Engine) writeDenials() {
	if e.usage.Refuses() != nil { // they can wait, and are not what the log is said to have refused
		return
	}
	all := e.denials.drain()
	for i := range all {
		if _, err := e.usage.Append(newID(), appendDenial(nil, &all[i])); err != nil {
			e.denials.restore(all[i:])
			return
		}
	}
}

// A predecessor is a holder of before, whose process is gone. Once all of its usage is counted it
// is retired: then what it did not use is free again.
type predecessor struct {
	*formerHolder
	upTo int64 // the place in the usage log that its usage ends before
}

// counted adds up what was uploaded in the holder's name.
func (f *predecessor) counted(s *tiergate.Spend) {
	if s.Holder == f.head.Holder {
		n0, n1 := nameOf(s.Bucket)
		f.uploaded[[2]int64{n0, n1}] += s.Units
	}
}

// short says whether the usage log tells of more than the counters: then they are older than
// it, and what they say is left may be spent.
func (f *predecessor) short() bool {
	for name, units := range f.uploaded {
		if f.spent[name] < units {
			return true
		}
	}
	return false
}

// retireFormer retires the holders of before whose usage has been counted.
func (e *Engine) retireFormer(ctx context.Context) {
	kept := e.former[:0]
	for _, f := range e.former {
		if done := e.retire(ctx, f); !done {
			kept = append(kept, f)
		}
	}
	e.former = kept
	e.formers.Store(int64(len(kept)))
}

func (e *Engine) retire(ctx context.Context, f predecessor) (done bool) {
	at := e.usage.Uploaded()
	if at < f.upTo {
		return false
	}
	if f.short() {
		e.abandon(f.formerHolder, "the usage log tells of more than its counters")
		return true
	}
	retiring, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	err := e.options.Ledger.Retire(retiring, tiergate.Retirement{
		Holder: f.head.Holder, Previous: f.previous, Token: f.token, Log: e.usage.ID(), At: at,
	})
	switch code := tiergate.CodeOf(err); {
	case code == "":
		e.log.Info("a former process gave back what it had not used", "holder", f.head.Holder)
		_ = os.Remove(f.path)
		return true
	case code == tiergate.Unavailable, code == tiergate.Internal:
		return false
	case code == tiergate.Conflict && !errors.Is(err, tiergate.ErrFenced):
		return false // the ledger has not counted as much as we think
	}
	e.abandon(f.formerHolder, err.Error())
	return true
}

// abandon leaves what a former holder held to the ledger, which sets it aside.
func (e *Engine) abandon(f *formerHolder, why string) {
	e.log.Error("what a former process held is lost until somebody reconciles it", "holder", f.head.Holder, "reason", why)
	e.counts.abandoned.Add(1)
	_ = os.Remove(f.path)
}

// distrust says that usage up to a place of the log may never be counted: it abandons all
// former holders, and where some of it is this one's, keeps anybody from giving back at its end
// what it may have used.
func (e *Engine) distrust(upTo int64) {
	for i, h := range e.incarnations() {
		if i > 0 || upTo > h.began {
			e.doubt(h, "some of its usage may be lost")
		}
	}
	for _, f := range e.former {
		e.abandon(f.formerHolder, "the usage log is not what it was")
	}
	e.former = nil
	e.formers.Store(0)
}
