package quota

import (
	"context"

	"github.com/tiergate/tiergate"
)

type uploadedLog struct {
	at   int64
	hash string
}

type usageKey struct{ scope, key string }

// Upload implements tiergate.Ledger.
func (m *Memory) Upload(_ context.Context, batch tiergate.UsageBatch) (tiergate.Uploaded, error) {
	if batch.From < 0 || batch.To < batch.From || batch.To == batch.From && len(batch.Usage)+len(batch.Denials) > 0 {
		return tiergate.Uploaded{}, tiergate.FieldErrorf("to", "a batch cannot go from %d to %d", batch.From, batch.To)
	}
	m.lock()
	defer m.mu.Unlock()
	log := m.logs[batch.Log]
	fits := log.at == batch.From && log.hash == batch.Before || batch.Lost && log.at < batch.From
	if !fits {
		return tiergate.Uploaded{At: log.at, Hash: log.hash}, nil
	}
	out := tiergate.Uploaded{At: batch.To, Hash: batch.After}
	m.logs[batch.Log] = uploadedLog{at: batch.To, hash: batch.After}
	for i := range batch.Usage {
		m.count(&batch.Usage[i], &out)
	}
	for _, d := range batch.Denials {
		n := d.Count
		d.Count = 0
		m.denials[d] += n
	}
	return out, nil
}

// count counts a use, unless its key says that it has been counted: then what it took from
// leases is credited back.
func (m *Memory) count(u *tiergate.Usage, out *tiergate.Uploaded) {
	counts := true
	if k := u.Key; k != nil {
		before, known := m.keys[usageKey{k.Scope, k.Key}]
		switch {
		case !known:
			m.keys[usageKey{k.Scope, k.Key}] = k.Fingerprint
		case before == k.Fingerprint:
			counts = false
			out.Duplicates++
		default:
			out.Reused++
		}
	}
	for _, spend := range u.Spends {
		b := m.bucket(spend.Bucket)
		if spend.Holder != "" { // a ledger that has lost the lease hears of it later, spent units included
			l := b.lease(spend.Holder)
			b.change(l, func() { l.reported += spend.Units })
		}
		if counts {
			b.use(spend.Units)
			m.usage[spend.Bucket] += spend.Units
		}
	}
}
