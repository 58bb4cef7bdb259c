package evaluator_test

import (
	"context"
	"sync"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota"
)

// counter is a Counter that counts in a map, exactly and at once.
type counter struct {
	mu     sync.Mutex
	now    time.Time
	used   map[tiergate.Bucket]int64
	takes  []quota.Take // what was consumed, tracked, denied or held
	denied []tiergate.UseReason
	held   map[string]tiergate.Reservation
	seats  map[tiergate.Bucket]map[string]bool
	fail   error // of what takes something
}

func newCounter() *counter {
	return &counter{now: now, used: map[tiergate.Bucket]int64{}, held: map[string]tiergate.Reservation{}, seats: map[tiergate.Bucket]map[string]bool{}}
}

func (c *counter) Now() time.Time { return c.now }

func bucketOf(claim *quota.Claim, now time.Time) tiergate.Bucket {
	b := tiergate.Bucket{Limit: claim.Key, Scope: claim.Scope, Subject: claim.Subject}
	if claim.Calendar != nil {
		b.Period = claim.Calendar.At(now).ID
	}
	return b
}

// fits says whether all claims have room, and what is left.
func (c *counter) fits(t *quota.Take, states []tiergate.LimitState) (quota.Outcome, []tiergate.LimitState) {
	o := quota.Outcome{Reason: tiergate.UseAllowed, Denied: -1}
	reasons := map[tiergate.LimitKind]tiergate.UseReason{
		tiergate.Quota: tiergate.UseExhausted, tiergate.Gauge: tiergate.UseExhausted,
		tiergate.Rate: tiergate.UseRateLimited, tiergate.Concurrency: tiergate.UseConcurrency,
	}
	for i := range t.Claims {
		claim := &t.Claims[i]
		left := max(claim.Amount-c.used[bucketOf(claim, c.now)], 0)
		if claim.Units > left && o.Denied < 0 {
			o = quota.Outcome{Reason: reasons[claim.Kind], Denied: i, RetryAfter: time.Minute}
		}
		states = append(states, tiergate.LimitState{
			Key: claim.Key, Kind: claim.Kind, Period: claim.Period, Amount: claim.Amount, Burst: claim.Burst,
			Min: left, Max: left, Exact: true, AsOf: c.now, ResetsIn: time.Hour,
		})
	}
	return o, states
}

// take counts a take. Slots and seats are only looked at: nothing would give them back.
func (c *counter) take(t *quota.Take) {
	for i := range t.Claims {
		if takes(&t.Claims[i]) {
			c.used[bucketOf(&t.Claims[i], c.now)] += t.Claims[i].Units
		}
	}
	c.keep(t)
}

func takes(c *quota.Claim) bool { return c.Kind == tiergate.Quota || c.Kind == tiergate.Rate }

// keep remembers a take, which is not the counter's after the call.
func (c *counter) keep(t *quota.Take) {
	own := *t
	own.Claims = append([]quota.Claim{}, t.Claims...)
	if t.Key != nil {
		key := *t.Key
		own.Key = &key
	}
	c.takes = append(c.takes, own)
}

func (c *counter) Check(_ context.Context, t *quota.Take, states []tiergate.LimitState) (quota.Outcome, []tiergate.LimitState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fits(t, states)
}

func (c *counter) Consume(_ context.Context, t *quota.Take, states []tiergate.LimitState) (quota.Outcome, []tiergate.LimitState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return quota.Outcome{}, nil, c.fail
	}
	first := len(states)
	o, states := c.fits(t, states)
	if o.Reason == tiergate.UseAllowed {
		c.take(t)
		o.ID = [16]byte{1, 2, 3}
		for i := range t.Claims {
			if s := &states[first+i]; takes(&t.Claims[i]) {
				s.Min, s.Max = s.Min-t.Claims[i].Units, s.Max-t.Claims[i].Units
			}
		}
	}
	return o, states, nil
}

func (c *counter) Track(_ context.Context, t *quota.Take) (quota.Outcome, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return quota.Outcome{}, c.fail
	}
	c.take(t)
	return quota.Outcome{Reason: tiergate.UseAllowed, Denied: -1, ID: [16]byte{4}}, nil
}

func (c *counter) Replay(t *quota.Take) (quota.Outcome, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, before := range c.takes {
		if t.Key != nil && before.Key != nil && *t.Key == *before.Key {
			return quota.Outcome{Reason: tiergate.UseAllowed, Denied: -1, Replayed: true, ID: [16]byte{1, 2, 3}}, true, nil
		}
	}
	return quota.Outcome{Denied: -1}, false, nil
}

func (c *counter) Deny(t *quota.Take, reason tiergate.UseReason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(t)
	c.denied = append(c.denied, reason)
}

func (c *counter) Reserve(_ context.Context, t *quota.Take, ttl time.Duration, states []tiergate.LimitState) (quota.Outcome, tiergate.Reservation, []tiergate.LimitState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return quota.Outcome{}, tiergate.Reservation{}, nil, c.fail
	}
	o, states := c.fits(t, states)
	if o.Reason != tiergate.UseAllowed {
		return o, tiergate.Reservation{}, states, nil
	}
	c.take(t)
	for i := range t.Claims {
		if !takes(&t.Claims[i]) {
			c.used[bucketOf(&t.Claims[i], c.now)] += t.Claims[i].Units
		}
	}
	r := tiergate.Reservation{
		ID: t.Key.Key, Owner: tiergate.Owner(t.Key.Scope), Fingerprint: t.Key.Fingerprint, State: tiergate.ReservationHeld, TeamID: t.TeamID, UserID: t.UserID, Feature: t.Feature, ExpiresAt: c.now.Add(ttl),
	}
	c.held[r.ID] = r
	return o, r, states, nil
}

// settle finds a reservation of by.
func (c *counter) settle(id string, by tiergate.Owner, how func(*tiergate.Reservation)) (tiergate.Reservation, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.held[id]
	if !ok || by != r.Owner {
		return tiergate.Reservation{}, tiergate.Errorf(tiergate.NotFound, "there is no such reservation")
	}
	how(&r)
	c.held[id] = r
	return r, nil
}

func (c *counter) Extend(_ context.Context, id string, by tiergate.Owner, ttl time.Duration) (tiergate.Reservation, error) {
	return c.settle(id, by, func(r *tiergate.Reservation) { r.ExpiresAt = c.now.Add(ttl) })
}

func (c *counter) Commit(_ context.Context, id string, by tiergate.Owner, actual int64, _ bool) (tiergate.Reservation, error) {
	return c.settle(id, by, func(r *tiergate.Reservation) { r.State, r.Actual = tiergate.ReservationCommitted, actual })
}

func (c *counter) Release(_ context.Context, id string, by tiergate.Owner) (tiergate.Reservation, error) {
	return c.settle(id, by, func(r *tiergate.Reservation) { r.State = tiergate.ReservationReleased })
}

func (c *counter) Reservation(_ context.Context, id string, by tiergate.Owner) (tiergate.Reservation, error) {
	return c.settle(id, by, func(*tiergate.Reservation) {})
}

// seatsOf are the items that a gauge's claim counts.
func (c *counter) seatsOf(claim *quota.Claim) (tiergate.Bucket, map[string]bool) {
	b := bucketOf(claim, c.now)
	if c.seats[b] == nil {
		c.seats[b] = map[string]bool{}
	}
	return b, c.seats[b]
}

func (c *counter) Hold(_ context.Context, claim *quota.Claim, item string) (int64, error) {
	if c.fail != nil {
		return 0, c.fail
	}
	b, seats := c.seatsOf(claim)
	if left := claim.Amount - int64(len(seats)); !seats[item] && left < 1 {
		return 0, &tiergate.ShortError{Bucket: b, Available: left}
	}
	seats[item] = true
	return int64(len(seats)), nil
}

func (c *counter) Drop(_ context.Context, claim *quota.Claim, item string) (int64, error) {
	_, seats := c.seatsOf(claim)
	delete(seats, item)
	return int64(len(seats)), c.fail
}

func (c *counter) Replace(_ context.Context, claim *quota.Claim, items []string) (added, removed int64, err error) {
	b, seats := c.seatsOf(claim)
	c.seats[b] = map[string]bool{}
	for _, item := range items {
		c.seats[b][item] = true
	}
	return int64(len(items)), int64(len(seats)), c.fail
}
