package tiergate

import (
	"context"
	"encoding/json"
	"time"
)

// A Use asks whether a subject may use a feature, and takes it. Request.Flag is the feature,
// which may have a flag, limits, or both.
type Use struct {
	Request
	// Cost is how many units; 0 is each limit's own cost. At most MaxAmount.
	Cost int64
	// IdempotencyKey makes a repeated call answer as the first did; "" means none. The same
	// key with another Fingerprint is KeyReused.
	IdempotencyKey string
	Fingerprint    string
	// At is when something that is tracked happened; zero is now.
	At time.Time
	// Metadata is kept with the usage: a JSON object, or nil.
	Metadata json.RawMessage
	// Room is where the Verdict's Limits and ID are put; nil makes new ones.
	Room *Room
}

// A Room is memory for one Verdict after the other, of a caller that asks again and again. A
// Verdict is valid until its room is used again. The zero Room is ready; it is for one
// goroutine at a time.
type Room struct {
	Limits []LimitState
	ID     [36]byte
}

// UseReason says why a use is allowed or not.
type UseReason string

// The reasons.
const (
	UseAllowed      UseReason = "ALLOWED"
	UseDisabled     UseReason = "FLAG_DISABLED"
	UseTier         UseReason = "TIER"      // the tier does not have the feature
	UsePolicy       UseReason = "POLICY"    // the access policy says no for another reason
	UseTargeting    UseReason = "TARGETING" // the flag is off for this subject
	UseExhausted    UseReason = "EXHAUSTED" // nothing is left, and nothing can come back before the reset
	UseContended    UseReason = "CONTENDED" // what is left is held elsewhere and may come back soon
	UseRateLimited  UseReason = "RATE_LIMITED"
	UseConcurrency  UseReason = "CONCURRENCY"     // all slots are taken
	UseUnavailable  UseReason = "UNAVAILABLE"     // nobody can say, or usage cannot be recorded
	UseFlagNotFound UseReason = "FLAG_NOT_FOUND"  // neither a flag nor a limit
	UseInvalid      UseReason = "INVALID_CONTEXT" // the subject is not what the limits need
)

// A Verdict is the answer about a use.
type Verdict struct {
	Allow   bool
	Reason  UseReason
	Message string // one sentence for people; "" when allowed

	// Decision is the flag's; its Value is that of the off variant when denied. Without a
	// flag only its Tier is set.
	Decision Decision
	Limits   []LimitState // every limit that applies, in the policy's order
	Denied   string       // the key of the limit that denied; "" for none

	RetryAfter time.Duration // when asking again may help; 0 means that it is not known
	ID         string        // of this decision: that of the usage record when there is one
	Replayed   bool          // an earlier call with the same key took it
	Resume     Resume        // the configuration that decided
}

// A LimitState is how much of one limit is left for the subject.
type LimitState struct {
	Key    string
	Kind   LimitKind
	Period string // the limit's, such as "month"
	Amount int64  // what the limit allows in all
	Burst  int64  // of a rate
	// Min and Max are the bounds of what was left at AsOf, less what this process let through
	// since: Min, and up to Max if others give back what they held. Others may have taken some
	// since, unless Exact: then both are the same, and nobody else was there.
	Min, Max int64
	Exact    bool
	AsOf     time.Time
	// ResetsIn is the time until the next period; negative means never.
	ResetsIn time.Duration
}

// Status is what an HTTP API should answer for a reason.
func (r UseReason) Status() int {
	switch r {
	case UseAllowed:
		return 200
	case UseExhausted, UseContended, UseRateLimited, UseConcurrency:
		return 429
	case UseUnavailable:
		return 503
	case UseFlagNotFound:
		return 404
	case UseInvalid:
		return 400
	}
	return 403
}

// A Gate says who may use what, and takes it. A Verdict's error is Invalid (the call can never
// work), Conflict (the same idempotency key is being worked on), KeyReused, or Unavailable
// (nothing has been loaded yet). What a Use points to is read during the call and not kept
// after it, or copied. Safe for concurrent use.
type Gate interface {
	// Check answers as Consume would, and takes nothing.
	Check(ctx context.Context, u *Use) (Verdict, error)
	// Consume takes the use when it is allowed: then its usage is recorded durably.
	Consume(ctx context.Context, u *Use) (Verdict, error)
	// Track records that a use has happened. It is not refused by any limit.
	Track(ctx context.Context, u *Use) (Verdict, error)
}

// Reservations hold units and slots for long jobs. Errors as Gate's, and NotFound for a
// reservation that is not there or another team's, Gone for one that has expired, Conflict
// for one that is settled otherwise. Safe for concurrent use.
type Reservations interface {
	// Reserve holds what a use would take, for at most ttl unless extended. The use's
	// IdempotencyKey is the reservation's id, one of the Owner that its Key says; "" mints one.
	// The same again is Replayed while it is held; after that it is Conflict, or Gone when it
	// has expired.
	Reserve(ctx context.Context, u *Use, ttl time.Duration) (Verdict, Reservation, error)
	Extend(ctx context.Context, id string, by Owner, ttl time.Duration) (Reservation, error)
	// Commit settles with what was really used; negative means what was held. When that is
	// more than was held and the limit has not as much, it is Exhausted, or with capped
	// settled with as much as there is.
	Commit(ctx context.Context, id string, by Owner, actual int64, capped bool) (Reservation, error)
	Release(ctx context.Context, id string, by Owner) (Reservation, error)
	Reservation(ctx context.Context, id string, by Owner) (Reservation, error)
}

// Gauges keep which things a subject holds, such as seats, for the gauge limits of a feature.
// Holding what is held and dropping what is not change nothing. A Verdict and its errors are
// as Gate's: there is no room is UseExhausted. Safe for concurrent use.
type Gauges interface {
	Hold(ctx context.Context, u *Use, item string) (Verdict, error)
	Drop(ctx context.Context, u *Use, item string) (Verdict, error)
	// Replace makes items, of which no two are equal, all that is held, whatever the limit.
	Replace(ctx context.Context, u *Use, items []string) (Verdict, error)
}

// An Owner is whose a reservation is, and who may touch it: one team, whose API keys they are,
// or "", all callers who need no key. An id is one reservation of each owner.
type Owner string

// ReservationState is where a reservation is in its life.
type ReservationState string

// The states of a reservation; all but held are final.
const (
	ReservationHeld      ReservationState = "HELD"
	ReservationCommitted ReservationState = "COMMITTED"
	ReservationReleased  ReservationState = "RELEASED"
	ReservationExpired   ReservationState = "EXPIRED"
)

// A Reservation holds units of quotas and slots of concurrency limits. It is settled once,
// into the periods in which it was made.
type Reservation struct {
	ID          string
	Owner       Owner
	State       ReservationState
	TeamID      string // the usage is theirs; "" for none
	UserID      string
	Feature     string
	Fingerprint string
	Metadata    json.RawMessage
	Holds       []Hold
	Actual      int64     // the units it was committed with
	ExpiresAt   time.Time // by the ledger's clock
	CreatedAt   time.Time
	SettledAt   time.Time // zero while held
	Replayed    bool      // of what Reserve returns: an earlier call made it
}

// A Hold is what a reservation holds in one bucket.
type Hold struct {
	Bucket Bucket    `json:"bucket"`
	Kind   LimitKind `json:"kind"` // Quota or Concurrency
	Units  int64     `json:"units"`
	Period Period    `json:"-"` // as in LeaseAsk, with Amount and Rev; of a request only
	Amount int64     `json:"-"`
	Rev    int64     `json:"-"`
}

// A ReservationLedger keeps reservations where all holders share them; each method is one
// transaction. Errors as of Reservations, and Exhausted. Safe for concurrent use.
type ReservationLedger interface {
	// Reserve makes a reservation with all of its holds or none. One of the same owner, id and
	// fingerprint is returned as it is while it is held, Replayed; after that it is Conflict or
	// Gone, and with another fingerprint KeyReused. ShortError tells which hold does not fit,
	// and NotNowError that nothing can be held at this time.
	Reserve(ctx context.Context, r Reservation, ttl time.Duration) (Reservation, error)
	Extend(ctx context.Context, id string, by Owner, ttl time.Duration) (Reservation, error)
	Commit(ctx context.Context, id string, by Owner, actual int64, capped bool) (Reservation, error)
	Release(ctx context.Context, id string, by Owner) (Reservation, error)
	Reservation(ctx context.Context, id string, by Owner) (Reservation, error)
}

// A ShortError says that a bucket has not what was asked of it. Its code is Exhausted.
type ShortError struct {
	Bucket                 Bucket
	Available, Outstanding int64
}

func (e *ShortError) Error() string { return "the limit " + e.Bucket.Limit + " has not as much left" }

// Unwrap makes its code Exhausted.
func (e *ShortError) Unwrap() error {
	return Errorf(Exhausted, "the limit %s has not as much left", e.Bucket.Limit)
}

// A NotNowError says that a ledger reserves nothing at this time, whatever is left, and
// changed nothing. Its code is Unavailable.
type NotNowError struct {
	Bucket      Bucket    // of the first hold that it is true of
	Now         time.Time // the ledger's time
	OutOfPeriod bool      // it is not the bucket's period now; else Learning
	Learning    bool      // the ledger has lost its newest history, as in LeaseAnswer
}

func (e *NotNowError) Error() string {
	if e.OutOfPeriod {
		return "the limit " + e.Bucket.Limit + " is in another period by the ledger's clock"
	}
	return "the ledger has lost its newest history and holds nothing until it has heard from everybody"
}

// Unwrap makes its code Unavailable.
func (e *NotNowError) Unwrap() error { return Errorf(Unavailable, "%s", e.Error()) }

// A GaugeLedger keeps sets of held things, such as seats: adding what is there and removing
// what is not change nothing. Safe for concurrent use.
type GaugeLedger interface {
	// Add puts an item into the bucket's set unless that makes it larger than amount, and
	// says how many it holds. ShortError when there is no room.
	Add(ctx context.Context, b Bucket, item string, amount, rev int64) (held int64, err error)
	Remove(ctx context.Context, b Bucket, item string) (held int64, err error)
	// Replace makes the set what items says, whatever the limit, and returns what was added
	// and removed.
	Replace(ctx context.Context, b Bucket, items []string) (added, removed int64, err error)
	// Peek says what buckets hold and have left for an amount, in their order.
	Peek(ctx context.Context, asks []LeaseAsk) ([]LeaseAnswer, error)
}
