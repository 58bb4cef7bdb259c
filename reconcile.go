package tiergate

import (
	"context"
	"time"
)

// A HeldLease is what one holder has of one bucket, for operators.
type HeldLease struct {
	Holder   string     `json:"holder"`
	State    LeaseState `json:"state"`
	Granted  int64      `json:"granted"`
	Reported int64      `json:"reported"` // units of its usage that has arrived
	// Aside is what of the bucket is set aside for it.
	Aside   int64     `json:"aside"`
	HeardAt time.Time `json:"heardAt"` // when the holder spoke last
	Lost    bool      `json:"lost"`    // it is silent for longer than it may spend
	Retired bool      `json:"retired"` // it can never speak again

	Counted BucketState `json:"counted"`
}

// A BucketState is what is in one bucket. Used includes what was charged by operators.
type BucketState struct {
	Bucket
	Amount    int64 `json:"amount"` // as the ledger has heard of last
	Used      int64 `json:"used"`
	Leased    int64 `json:"leased"`    // set aside for holders that speak, and for what they have spent already
	Reserved  int64 `json:"reserved"`  // set aside for reservations
	Forfeited int64 `json:"forfeited"` // set aside for lost holders
}

// A LeaseFilter chooses leases; what is "" chooses all.
type LeaseFilter struct {
	Holder, Limit, Subject string
	State                  LeaseState
}

// Reconcile is what happens with what a lost holder has, beyond what its usage proves.
type Reconcile string

// The ways to reconcile.
const (
	// ReconcileRelease makes it free again: if the holder did spend it, and its usage turns
	// up, it counts then.
	ReconcileRelease Reconcile = "release"
	// ReconcileCharge counts it as used: if its usage turns up, it does not count twice.
	ReconcileCharge Reconcile = "charge"
)

// A Reconciliation decides about leases of lost holders.
type Reconciliation struct {
	Holder string  // "" is all that are lost and have something of the bucket
	Bucket *Bucket // nil is all of the holder's
	How    Reconcile
	By     Caller
	Reason string
}

// Reconciled is what a reconciliation has done.
type Reconciled struct {
	Leases, Units int64
}

// LeaseService is for the operators of a ledger. Safe for concurrent use.
type LeaseService interface {
	// Leases lists leases in the order of their holders and buckets.
	Leases(ctx context.Context, f LeaseFilter, page Page) (List[HeldLease], error)
	// Reconcile ends leases of holders that are lost, retires these for ever, and keeps a
	// record of it. Conflict when a holder spoke not long enough ago.
	Reconcile(ctx context.Context, r Reconciliation) (Reconciled, error)
}
