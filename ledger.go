package tiergate

import (
	"context"
	"encoding/json"
	"time"
)

// A Bucket is one counter: what one subject has used of one limit in one period.
type Bucket struct {
	Limit   string `json:"limit"`   // the limit's key
	Scope   string `json:"scope"`   // whose it is: "team" or "user"
	Subject string `json:"subject"` // the team's or user's id
	Period  string `json:"period"`  // Period.ID; "" for a limit that has no periods
}

// A Period is one stretch of time in which a quota counts, from Start up to and without End.
type Period struct {
	ID    string    // names it among the periods of its limit; "" for a limit that has none
	Start time.Time // zero: since ever
	End   time.Time // zero: for ever
}

// Holds says whether a time is in the period.
func (p Period) Holds(t time.Time) bool {
	return (p.Start.IsZero() || !t.Before(p.Start)) && (p.End.IsZero() || t.Before(p.End))
}

// A Ledger keeps who may spend what, in one place that all holders share. A unit is debited
// here before anybody may spend it, and comes back only when the process that held it says
// so: what was admitted is never more than the limit, whatever crashes, stops, is late or is
// lost, and whatever clocks say. Errors are Unavailable when the ledger cannot be reached,
// and then nobody knows whether the call took effect: sending the same again is always safe.
// Safe for concurrent use.
type Ledger interface {
	// Exchange renews a holder and asks for leases. A holder sends one at a time. ErrFenced
	// means that it must never spend again.
	Exchange(ctx context.Context, x Exchange) (Exchanged, error)
	// Retire ends a holder whose process is gone, once all of its usage has been uploaded:
	// what it did not use is free again. Like an Exchange it needs the holder's newest token,
	// else it is ErrFenced; Conflict when the ledger has not counted the log so far.
	Retire(ctx context.Context, r Retirement) error
	// Upload counts a batch of usage, once however often it is sent.
	Upload(ctx context.Context, b UsageBatch) (Uploaded, error)
}

// ErrFenced says that a holder is no longer one: another process spoke in its name (a copied
// virtual machine or folder), or it was retired. Its leases are lost to it.
var ErrFenced = &Error{Code: Conflict, Message: "another process has taken this holder's place"}

// An Exchange is one holder's message to the ledger. Everything in it is absolute or
// cumulative, so that a message that is sent twice, or arrives late, changes nothing more.
type Exchange struct {
	Holder string // the process: a new UUID at each start
	// Token is new for each message, and Previous is that of the message before, "" in a
	// holder's first. One who does not know the newest token is fenced: see ErrFenced. A
	// message that is sent again keeps its tokens.
	Previous, Token string
	Asks            []LeaseAsk
	Rates           []RateAsk
}

// A Retirement ends a holder; see Ledger.
type Retirement struct {
	Holder          string
	Previous, Token string // as in Exchange
	Log             string // the log that holds all of the holder's usage …
	At              int64  // … and the place up to which it was uploaded
}

// A LeaseAsk is what a holder says of one of its leases, and what it wants to hold. There is
// one lease for each holder and bucket. Granted and Spent count since the lease began, over
// all its fences.
type LeaseAsk struct {
	Bucket Bucket
	Period Period // when the bucket counts; outside of it nothing is granted
	// Amount is what the limit allows, as of the configuration's revision Rev. Of two
	// revisions the newer one's amount counts; of an older one the smaller of both.
	Amount int64
	Rev    int64

	// Fence begins at 1 and is one more each time the holder takes up a lease that it gave
	// back. What is said under an older fence is late, and changes nothing.
	Fence   int64
	Granted int64 // the units that the holder knows to have been granted
	Spent   int64 // the units that it has spent

	// Need is what waiting callers need beyond Spent, Least the smallest of them: less than
	// Least is not granted. Want is what the holder would like to hold beyond Spent; it gets
	// more than Need only while there is plenty.
	Need, Least, Want int64
	// Seal gives back what is not spent: nothing more is spent under this fence.
	Seal bool
}

// LeaseState is where a lease is in its life.
type LeaseState string

// The states of a lease.
const (
	LeaseActive  LeaseState = "ACTIVE"  // its holder may spend it
	LeaseSealed  LeaseState = "SEALED"  // given back; a larger fence opens it again
	LeaseForfeit LeaseState = "FORFEIT" // its holder is silent: set aside until it speaks or somebody reconciles
)

// A LeaseAnswer is what the ledger says about one lease.
type LeaseAnswer struct {
	State   LeaseState // LeaseActive, or LeaseSealed: nothing may be spent under the fence
	Granted int64      // the units granted since the lease began
	// Available is what is left for all, and Outstanding what others hold and may yet give
	// back, both after this message. Available is negative after a limit was lowered.
	Available, Outstanding int64
	OutOfPeriod            bool // nothing was granted because it is not that period now
	Learning               bool // nothing was granted because the ledger has lost its newest history
}

// A RateAsk asks for a share of a rate that all holders share.
type RateAsk struct {
	Bucket Bucket
	Amount int64 // units per period of the whole rate
	Rev    int64 // as in LeaseAsk
}

// Exchanged is the ledger's answer. Answers and Shares are in the order of the asks.
type Exchanged struct {
	Now time.Time // the ledger's time
	// TTL is for how long after the message was sent the holder may spend what it holds.
	TTL     time.Duration
	Answers []LeaseAnswer
	Shares  []int64  // the part of each rate in millionths: together never more than a million
	Recall  []Bucket // others lack what the holder holds in these
	Holders int      // how many are alive, this one among them
}

// A UsageBatch is what happened between two places of one usage log.
type UsageBatch struct {
	Log string // the log's identity, a UUID
	// From and To are places in the log; From is where the batch before ended. Before and
	// After are hashes of all that came before these places.
	From, To      int64
	Before, After string
	// Lost says that what is between the ledger's place and From is gone, at the ledger and
	// in the log: the log goes on from From.
	Lost    bool
	Usage   []Usage
	Denials []Denial
}

// Usage is something that was used: one event, or some of the same hour, subject and feature
// together.
type Usage struct {
	ID       string          `json:"id"` // the event's, or the first one's: a UUID
	At       time.Time       `json:"at"`
	TeamID   string          `json:"teamId,omitempty"`
	UserID   string          `json:"userId,omitempty"`
	Feature  string          `json:"feature"`
	Units    int64           `json:"units"`
	Events   int64           `json:"events"`
	Metadata json.RawMessage `json:"metadata,omitempty"` // an object; such an event stands alone
	Spends   []Spend         `json:"spends,omitempty"`
	Key      *UsageKey       `json:"key,omitempty"` // such an event stands alone
}

// A Spend is what a use took from one bucket. Without a lease (Holder "") it is debited when
// it arrives, limit or no limit, for it has happened.
type Spend struct {
	Bucket Bucket `json:"bucket"`
	Holder string `json:"holder,omitempty"`
	Units  int64  `json:"units"`
}

// A UsageKey makes an event count once, whichever holder recorded it. The same key with
// another Fingerprint is another event.
type UsageKey struct {
	Scope       string `json:"scope"` // whose keys they are; keys of different scopes are different
	Key         string `json:"key"`
	Fingerprint string `json:"fingerprint"`
}

// A Denial counts the calls of one hour that were denied for one reason. They count against
// no limit.
type Denial struct {
	Hour    time.Time `json:"hour"`
	TeamID  string    `json:"teamId,omitempty"`
	UserID  string    `json:"userId,omitempty"`
	Feature string    `json:"feature"`
	Reason  UseReason `json:"reason"`
	Count   int64     `json:"count"`
}

// Uploaded says how far a log is counted.
type Uploaded struct {
	// At and Hash are the place up to which the ledger has counted the log. When At is not
	// the batch's To, the batch did not fit and counted nothing: the log goes on from At.
	At   int64
	Hash string
	// Duplicates are the events whose key had been counted before; what they took was
	// credited back. Reused are those whose key had been used for something else; they count.
	Duplicates, Reused int64
}
