package quota

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tiergate/tiergate"
)

// Reserve holds what a use would take until it is settled. The use's key names the reservation:
// its scope is the owner. Rates are taken at once, and not again by the same again. Errors are
// those of a tiergate.ReservationLedger that are not about limits.
func (e *Engine) Reserve(ctx context.Context, t *Take, ttl time.Duration, states []tiergate.LimitState) (Outcome, tiergate.Reservation, []tiergate.LimitState, error) {
	none := tiergate.Reservation{}
	defer e.active.Add(-1)
	if e.active.Add(1); e.options.Reservations == nil || e.stopping.Load() {
		return Outcome{Reason: tiergate.UseUnavailable, Denied: -1}, none, states, nil
	}
	wanted := tiergate.Reservation{ // copies: a ledger may keep it
		ID: strings.Clone(t.Key.Key), Owner: tiergate.Owner(strings.Clone(t.Key.Scope)), Fingerprint: strings.Clone(t.Key.Fingerprint),
		TeamID: strings.Clone(t.TeamID), UserID: strings.Clone(t.UserID), Feature: strings.Clone(t.Feature), Metadata: bytes.Clone(t.Metadata),
	}
	d := drafts.Get().(*draft)
	defer d.free()
	for i := range t.Claims {
		c := &t.Claims[i]
		if c.Kind != tiergate.Rate {
			continue
		}
		r, ok, retry := e.takeRate(c, i, e.now())
		if !ok {
			e.undoAll(t, d)
			e.deny(t, tiergate.UseRateLimited)
			return Outcome{Reason: tiergate.UseRateLimited, Denied: i, RetryAfter: retry}, none, e.states(t, states), nil
		}
		d.rated = append(d.rated, r)
	}
	held, err := e.reserve(ctx, t, wanted, ttl)
	if err == nil && !held.Replayed {
		e.counts.accepted.Add(1)
		return Outcome{Reason: tiergate.UseAllowed, Denied: -1}, held, e.looked(ctx, t, d, states), nil
	}
	e.undoAll(t, d)
	if err == nil {
		return Outcome{Reason: tiergate.UseAllowed, Denied: -1, Replayed: true}, held, e.looked(ctx, t, d, states), nil
	}
	out, err := e.short(t, err)
	if err == nil {
		e.deny(t, out.Reason)
	}
	return out, none, e.looked(ctx, t, d, states), err
}

// looked is states with what the ledger says at this moment, if it does.
func (e *Engine) looked(ctx context.Context, t *Take, d *draft, states []tiergate.LimitState) []tiergate.LimitState {
	first := len(states)
	states = e.states(t, states)
	if e.options.Gauges == nil {
		return states
	}
	var asks []tiergate.LeaseAsk
	for i := range t.Claims {
		if c := &t.Claims[i]; c.Kind != tiergate.Rate {
			h := e.hold(c)
			asks = append(asks, tiergate.LeaseAsk{Bucket: h.Bucket, Period: h.Period, Amount: c.Amount, Rev: c.Rev})
			d.looked = append(d.looked, looked{claim: i})
		}
	}
	answers, err := e.options.Gauges.Peek(ctx, asks)
	if err != nil || len(asks) == 0 {
		return states
	}
	for i := range answers {
		d.looked[i].left = answers[i]
		d.looked[i].left.Available += e.atHand(&t.Claims[d.looked[i].claim])
	}
	d.fill(states, first, e.Now())
	return states
}

func (e *Engine) hold(c *Claim) tiergate.Hold {
	h := tiergate.Hold{
		Bucket: tiergate.Bucket{Limit: c.Key, Scope: c.Scope, Subject: c.Subject},
		Kind:   c.Kind, Units: c.Units, Amount: c.Amount, Rev: c.Rev,
	}
	if c.Calendar != nil {
		h.Period = c.Calendar.At(e.Now())
		h.Bucket.Period = h.Period.ID
	}
	return h
}

// wanted is what a reservation holds of a take's limits, in the periods that it is now.
func (e *Engine) wanted(t *Take) []tiergate.Hold {
	var holds []tiergate.Hold
	for i := range t.Claims {
		if c := &t.Claims[i]; c.Kind == tiergate.Quota || c.Kind == tiergate.Concurrency {
			h := e.hold(c)
			h.Bucket = cloneBucket(h.Bucket)
			holds = append(holds, h)
		}
	}
	return holds
}

// reserve asks the ledger: once more when it is another period by the ledger's clock than was
// known here, and once more when this process itself held what was lacking.
func (e *Engine) reserve(ctx context.Context, t *Take, r tiergate.Reservation, ttl time.Duration) (tiergate.Reservation, error) {
	var corrected, gave bool
	for {
		r.Holds = e.wanted(t)
		held, err := e.options.Reservations.Reserve(ctx, r, ttl)
		notNow, _ := errors.AsType[*tiergate.NotNowError](err)
		short, _ := errors.AsType[*tiergate.ShortError](err)
		switch {
		case notNow != nil:
			e.hearTime(notNow.Now)
			if corrected || !notNow.OutOfPeriod { // what it has lost, the ledger does not learn by being asked
				return held, err
			}
			corrected = true
		case short != nil && !gave && e.giveBack(ctx, short.Bucket):
			gave = true
		default:
			return held, err
		}
	}
}

// hearTime sets the clock by what the ledger said just now, unless an exchange does so meanwhile.
func (e *Engine) hearTime(ledger time.Time) {
	before := e.heard.Load()
	t := ledgerTime{at: ledger, mono: e.now()}
	if before != nil {
		t.holders = before.holders
	}
	e.heard.CompareAndSwap(before, &t)
}

// short turns a ledger's refusal into an outcome; other errors stay errors.
func (e *Engine) short(t *Take, err error) (Outcome, error) {
	if notNow, ok := errors.AsType[*tiergate.NotNowError](err); ok {
		return unheldNow(notNow), nil
	}
	short, ok := errors.AsType[*tiergate.ShortError](err)
	if !ok {
		if tiergate.CodeOf(err) == tiergate.Unavailable {
			return Outcome{Reason: tiergate.UseUnavailable, Denied: -1, RetryAfter: highestPause}, nil
		}
		return Outcome{Denied: -1}, err
	}
	for i := range t.Claims {
		c := &t.Claims[i]
		if c.Key != short.Bucket.Limit || c.Subject != short.Bucket.Subject {
			continue
		}
		switch {
		case c.Kind == tiergate.Concurrency:
			return Outcome{Reason: tiergate.UseConcurrency, Denied: i, RetryAfter: retryContended}, nil
		case short.Outstanding > 0 && c.Units <= c.Amount:
			return e.refusal(c, i, contended), nil
		}
		return e.refusal(c, i, exhausted), nil
	}
	return Outcome{Reason: tiergate.UseExhausted, Denied: -1}, nil
}

// unheldNow is the outcome of a reservation that the ledger cannot make at this time.
func unheldNow(e *tiergate.NotNowError) Outcome {
	out := Outcome{
		Reason: tiergate.UseUnavailable, Denied: -1, RetryAfter: time.Second,
		Message: "The ledger has lost its newest history and holds nothing until it has heard from everybody",
	}
	if e.OutOfPeriod {
		out.Message = "The limit " + e.Bucket.Limit + " is in another period by the ledger's clock"
	}
	return out
}

// Extend holds a reservation for longer; see tiergate.Reservations.
func (e *Engine) Extend(ctx context.Context, id string, by tiergate.Owner, ttl time.Duration) (tiergate.Reservation, error) {
	if e.options.Reservations == nil {
		return tiergate.Reservation{}, noReservations()
	}
	return e.options.Reservations.Extend(ctx, id, by, ttl)
}

// Commit settles a reservation with what was used; see tiergate.Reservations.
func (e *Engine) Commit(ctx context.Context, id string, by tiergate.Owner, actual int64, capped bool) (tiergate.Reservation, error) {
	if e.options.Reservations == nil {
		return tiergate.Reservation{}, noReservations()
	}
	return e.options.Reservations.Commit(ctx, id, by, actual, capped)
}

// Release ends a reservation that led to nothing; see tiergate.Reservations.
func (e *Engine) Release(ctx context.Context, id string, by tiergate.Owner) (tiergate.Reservation, error) {
	if e.options.Reservations == nil {
		return tiergate.Reservation{}, noReservations()
	}
	return e.options.Reservations.Release(ctx, id, by)
}

// Reservation returns a reservation; see tiergate.Reservations.
func (e *Engine) Reservation(ctx context.Context, id string, by tiergate.Owner) (tiergate.Reservation, error) {
	if e.options.Reservations == nil {
		return tiergate.Reservation{}, noReservations()
	}
	return e.options.Reservations.Reservation(ctx, id, by)
}

func noReservations() error {
	return tiergate.Errorf(tiergate.Unavailable, "there is no ledger that keeps reservations")
}

// Hold puts an item into the set that a gauge counts, such as a seat, and Drop takes it out.
// Both may be repeated. They return how many items there are; Exhausted when it is full.
func (e *Engine) Hold(ctx context.Context, c *Claim, item string) (int64, error) {
	if e.options.Gauges == nil {
		return 0, noReservations()
	}
	return e.options.Gauges.Add(ctx, e.hold(c).Bucket, item, c.Amount, c.Rev)
}

// Drop takes an item out; see Hold.
func (e *Engine) Drop(ctx context.Context, c *Claim, item string) (int64, error) {
	if e.options.Gauges == nil {
		return 0, noReservations()
	}
	return e.options.Gauges.Remove(ctx, e.hold(c).Bucket, item)
}

// Replace makes the set what items says, whatever the limit.
func (e *Engine) Replace(ctx context.Context, c *Claim, items []string) (added, removed int64, err error) {
	if e.options.Gauges == nil {
		return 0, 0, noReservations()
	}
	return e.options.Gauges.Replace(ctx, e.hold(c).Bucket, items)
}
