package ledgertest

import (
	"context"
	"fmt"

	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
)

// A keeper is a holder that keeps to the protocol, and that forgets a counter which nobody
// uses: it gives the lease back, uploads what is left to upload, and remembers no more than
// where it was, to open it again later. However often it does, its sums never begin anew:
// what the ledger has set aside for it is what it may spend and what it has not uploaded.
type keeper struct {
	lease    *keptLease // nil while the counter is forgotten …
	trace    keptLease  // … of which this is remembered
	admitted int64      // the units that it ever let through, whatever it remembers …
	uploaded int64      // … and those whose usage has arrived
	log      int64      // the place up to which that was uploaded
}

// A keptLease is what a keeper knows of its lease; see tiergate.LeaseAsk.
type keptLease struct {
	fence, granted, spent int64
	sealed                bool
}

const keeperName = "keeper"

var keeperBucket = tiergate.Bucket{Limit: "jobs", Scope: "team", Subject: "acme"}

// open returns the lease, as it was when the counter was forgotten.
func (k *keeper) open() *keptLease {
	if k.lease == nil {
		lease := k.trace
		k.lease = &lease
	}
	return k.lease
}

// rest is what it may spend.
func (k *keeper) rest() int64 {
	if k.lease == nil || k.lease.sealed {
		return 0
	}
	return k.lease.granted - k.lease.spent
}

// check compares what the ledger has of the keeper with what happened.
func (k *keeper) check(t *rapid.T, sums []Sum) {
	t.Helper()
	var kept Counted
	for _, s := range sums {
		if s.Bucket == keeperBucket {
			kept = s.Kept
		}
	}
	if aside := k.rest() + k.admitted - k.uploaded; kept.Leased+kept.Forfeited != aside || kept.Used != k.uploaded {
		t.Fatalf("the sums began anew: the ledger keeps %+v of a holder that let %d through, uploaded %d and may spend %d", kept, k.admitted, k.uploaded, k.rest())
	}
}

// keeperUses asks for units, in a counter that may have been forgotten, and spends some.
func (m *machine) keeperUses(t *rapid.T) {
	l := m.keeper.open()
	if l.sealed || l.fence == 0 {
		l.fence, l.granted, l.sealed = l.fence+1, l.spent, false
	}
	need := rapid.Int64Range(1, 6).Draw(t, "need")
	m.keeperSends(t, tiergate.LeaseAsk{Need: need, Least: 1, Want: need})
	n := few(t, "spends", m.keeper.rest())
	l.spent += n
	m.keeper.admitted += n
}

// keeperUploads counts what was spent since the last time.
func (m *machine) keeperUploads(t *rapid.T) {
	k := &m.keeper
	u := tiergate.Usage{ID: "e", At: m.now, TeamID: "acme", Feature: "jobs", Units: k.admitted - k.uploaded, Events: 1}
	u.Spends = []tiergate.Spend{{Bucket: keeperBucket, Holder: keeperName, Units: u.Units}}
	b := batch(keeperName, k.log, u)
	want, wantErr := m.model.Upload(context.Background(), b)
	got, gotErr := m.world.Ledger.Upload(context.Background(), b)
	agree(t, "upload", want, got, wantErr, gotErr)
	if gotErr != nil || got.At != b.To {
		t.Fatalf("the keeper's log is counted up to %d, not %d: %v", got.At, b.To, gotErr)
	}
	k.uploaded, k.log = k.admitted, b.To
}

// keeperForgets gives back what is left and forgets the counter.
func (m *machine) keeperForgets(t *rapid.T) {
	k := &m.keeper
	if k.lease == nil {
		t.Skip("it is forgotten already")
	}
	if !k.lease.sealed {
		m.keeperSends(t, tiergate.LeaseAsk{Seal: true})
	}
	m.keeperUploads(t)
	k.lease, k.trace = nil, *k.lease
}

// keeperSends says something about the lease and takes in the answer.
func (m *machine) keeperSends(t *rapid.T, ask tiergate.LeaseAsk) {
	l := m.keeper.open()
	ask.Bucket, ask.Amount, ask.Rev = keeperBucket, 1000, 1
	ask.Fence, ask.Granted, ask.Spent = l.fence, l.granted, l.spent
	m.count++
	out := m.send(t, tiergate.Exchange{
		Holder: keeperName, Previous: m.tokens[keeperName], Token: fmt.Sprint("t", m.count), Asks: []tiergate.LeaseAsk{ask},
	})
	if len(out.Answers) != 1 {
		t.Fatal("the keeper is no holder any more")
	}
	l.granted, l.sealed = out.Answers[0].Granted, out.Answers[0].State == tiergate.LeaseSealed
	if l.sealed {
		l.granted = l.spent
	}
}
