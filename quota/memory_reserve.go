package quota

import (
	"context"
	"slices"
	"time"

	"github.com/tiergate/tiergate"
)

// A reservationKey is what a reservation is known by.
type reservationKey struct {
	owner tiergate.Owner
	id    string
}

// Reserve implements tiergate.ReservationLedger.
func (m *Memory) Reserve(_ context.Context, r tiergate.Reservation, ttl time.Duration) (tiergate.Reservation, error) {
	if err := r.Validate(); err != nil {
		return tiergate.Reservation{}, err
	}
	now := m.lock()
	defer m.mu.Unlock()
	m.expire(now)
	if before := m.reservations[reservationKey{r.Owner, r.ID}]; before != nil {
		return again(before, r.Fingerprint)
	}
	if err := m.notNow(r.Holds, now); err != nil {
		return tiergate.Reservation{}, err
	}
	for _, h := range r.Holds {
		b := m.bucket(h.Bucket)
		amount := b.allows(h.Amount, h.Rev)
		available := amount - b.used - b.leased - b.reserved - b.forfeited
		if available < h.Units {
			b.wanted = now
			return tiergate.Reservation{}, &tiergate.ShortError{Bucket: h.Bucket, Available: available, Outstanding: b.leased + b.reserved}
		}
	}
	for _, h := range r.Holds {
		m.bucket(h.Bucket).reserved += h.Units
	}
	r.State, r.CreatedAt, r.ExpiresAt = tiergate.ReservationHeld, now, now.Add(ttl)
	r.Replayed = false
	m.reservations[reservationKey{r.Owner, r.ID}] = &r
	return r, nil
}

// again is what somebody gets who asks for a reservation that was made before.
func again(before *tiergate.Reservation, fingerprint string) (tiergate.Reservation, error) {
	if before.Fingerprint != fingerprint {
		return tiergate.Reservation{}, tiergate.Errorf(tiergate.KeyReused, "this reservation id was used for another reservation")
	}
	if err := over(before, tiergate.ReservationHeld); err != nil {
		return tiergate.Reservation{}, err
	}
	r := *before
	r.Replayed = true
	return r, nil
}

// notNow says why nothing can be held at this time, whatever is left; nil when it can.
func (m *Memory) notNow(holds []tiergate.Hold, now time.Time) error {
	for _, h := range holds {
		if !h.Period.Holds(now) {
			return &tiergate.NotNowError{Bucket: h.Bucket, Now: now, OutOfPeriod: true}
		}
	}
	if len(holds) > 0 && now.Before(m.learning) {
		return &tiergate.NotNowError{Bucket: holds[0].Bucket, Now: now, Learning: true}
	}
	return nil
}

// expire ends the reservations whose time is over.
func (m *Memory) expire(now time.Time) {
	for _, r := range m.reservations {
		if r.State == tiergate.ReservationHeld && !now.Before(r.ExpiresAt) {
			m.settle(r, tiergate.ReservationExpired, 0, now)
		}
	}
}

// settle ends a reservation: each quota keeps what was used, and the rest is free.
func (m *Memory) settle(r *tiergate.Reservation, state tiergate.ReservationState, actual int64, now time.Time) {
	for _, h := range r.Holds {
		b := m.bucket(h.Bucket)
		b.reserved -= h.Units
		if h.Kind == tiergate.Quota {
			used := actual
			if actual < 0 {
				used = h.Units
			}
			b.use(used)
			m.usage[h.Bucket] += used
		}
	}
	r.State, r.Actual, r.SettledAt = state, actual, now
}

// find returns a reservation of the owner, in whatever state.
func (m *Memory) find(id string, by tiergate.Owner, now time.Time) (*tiergate.Reservation, error) {
	m.expire(now)
	r := m.reservations[reservationKey{by, id}]
	if r == nil {
		return nil, tiergate.Errorf(tiergate.NotFound, "there is no such reservation")
	}
	return r, nil
}

// over says what may be answered about a reservation that is settled, when state is wanted.
func over(r *tiergate.Reservation, wanted tiergate.ReservationState) error {
	switch r.State {
	case wanted:
		return nil
	case tiergate.ReservationExpired:
		return tiergate.Errorf(tiergate.Gone, "the reservation is EXPIRED, and what it held is free again")
	}
	return tiergate.Errorf(tiergate.Conflict, "the reservation is %s already", r.State)
}

// Extend implements tiergate.ReservationLedger.
func (m *Memory) Extend(_ context.Context, id string, by tiergate.Owner, ttl time.Duration) (tiergate.Reservation, error) {
	now := m.lock()
	defer m.mu.Unlock()
	r, err := m.find(id, by, now)
	if err != nil {
		return tiergate.Reservation{}, err
	}
	if err := over(r, tiergate.ReservationHeld); err != nil {
		return tiergate.Reservation{}, err
	}
	if until := now.Add(ttl); until.After(r.ExpiresAt) {
		r.ExpiresAt = until
	}
	return *r, nil
}

// Commit implements tiergate.ReservationLedger.
func (m *Memory) Commit(_ context.Context, id string, by tiergate.Owner, actual int64, capped bool) (tiergate.Reservation, error) {
	now := m.lock()
	defer m.mu.Unlock()
	r, err := m.find(id, by, now)
	if err != nil {
		return tiergate.Reservation{}, err
	}
	actual = max(actual, -1)
	if r.State != tiergate.ReservationHeld {
		if err := over(r, tiergate.ReservationCommitted); err != nil {
			return tiergate.Reservation{}, err
		}
		if r.Actual != actual && !(capped && r.Actual < actual) {
			return tiergate.Reservation{}, tiergate.Errorf(tiergate.Conflict, "the reservation was committed with another amount")
		}
		return *r, nil
	}
	for _, h := range r.Holds {
		if h.Kind != tiergate.Quota || actual <= h.Units {
			continue
		}
		b := m.bucket(h.Bucket)
		available := b.amount - b.used - b.leased - b.reserved - b.forfeited
		free := max(0, available)
		if now.Before(m.learning) {
			free = 0 // more is granted no more than to leases
		}
		switch {
		case actual-h.Units <= free:
		case capped:
			actual = h.Units + free
		default:
			return tiergate.Reservation{}, &tiergate.ShortError{Bucket: h.Bucket, Available: available, Outstanding: b.leased + b.reserved - h.Units}
		}
	}
	m.settle(r, tiergate.ReservationCommitted, actual, now)
	return *r, nil
}

// Release implements tiergate.ReservationLedger.
func (m *Memory) Release(_ context.Context, id string, by tiergate.Owner) (tiergate.Reservation, error) {
	now := m.lock()
	defer m.mu.Unlock()
	r, err := m.find(id, by, now)
	if err != nil {
		return tiergate.Reservation{}, err
	}
	switch r.State {
	case tiergate.ReservationHeld:
		m.settle(r, tiergate.ReservationReleased, 0, now)
	case tiergate.ReservationCommitted:
		return tiergate.Reservation{}, over(r, tiergate.ReservationReleased)
	}
	return *r, nil
}

// Reservation implements tiergate.ReservationLedger.
func (m *Memory) Reservation(_ context.Context, id string, by tiergate.Owner) (tiergate.Reservation, error) {
	now := m.lock()
	defer m.mu.Unlock()
	r, err := m.find(id, by, now)
	if err != nil {
		return tiergate.Reservation{}, err
	}
	return *r, nil
}

// Add implements tiergate.GaugeLedger.
func (m *Memory) Add(_ context.Context, key tiergate.Bucket, item string, amount, rev int64) (int64, error) {
	m.lock()
	defer m.mu.Unlock()
	b := m.bucket(key)
	amount = b.allows(amount, rev)
	if !b.items[item] {
		if b.used >= amount {
			return b.used, &tiergate.ShortError{Bucket: key, Available: amount - b.used}
		}
		b.items[item] = true
		b.used++
	}
	return b.used, nil
}

// Remove implements tiergate.GaugeLedger.
func (m *Memory) Remove(_ context.Context, key tiergate.Bucket, item string) (int64, error) {
	m.lock()
	defer m.mu.Unlock()
	b := m.bucket(key)
	if b.items[item] {
		delete(b.items, item)
		b.used--
	}
	return b.used, nil
}

// Replace implements tiergate.GaugeLedger.
func (m *Memory) Replace(_ context.Context, key tiergate.Bucket, items []string) (added, removed int64, err error) {
	m.lock()
	defer m.mu.Unlock()
	b := m.bucket(key)
	for item := range b.items {
		if !slices.Contains(items, item) {
			delete(b.items, item)
			removed++
		}
	}
	for _, item := range items {
		if !b.items[item] {
			b.items[item] = true
			added++
		}
	}
	b.used += added - removed
	return added, removed, nil
}

// Peek implements tiergate.GaugeLedger.
func (m *Memory) Peek(_ context.Context, asks []tiergate.LeaseAsk) ([]tiergate.LeaseAnswer, error) {
	now := m.lock()
	defer m.mu.Unlock()
	m.expire(now)
	out := make([]tiergate.LeaseAnswer, len(asks))
	for i, ask := range asks {
		b := m.buckets[ask.Bucket]
		if b == nil {
			b = &bucket{}
		}
		out[i] = tiergate.LeaseAnswer{
			Available:   ask.Amount - b.used - b.leased - b.reserved - b.forfeited,
			Outstanding: b.leased + b.reserved,
		}
	}
	return out, nil
}
