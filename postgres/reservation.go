package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tiergate/tiergate"
)

// reservationImage is a reservation as reservation_json writes it.
type reservationImage struct {
	ID          string                    `json:"id"`
	Owner       tiergate.Owner            `json:"owner"`
	State       tiergate.ReservationState `json:"state"`
	TeamID      string                    `json:"teamId"`
	UserID      string                    `json:"userId"`
	Feature     string                    `json:"feature"`
	Fingerprint string                    `json:"fingerprint"`
	Metadata    json.RawMessage           `json:"metadata"`
	Holds       []tiergate.Hold           `json:"holds"`
	Actual      int64                     `json:"actual"`
	ExpiresAt   time.Time                 `json:"expiresAt"`
	CreatedAt   time.Time                 `json:"createdAt"`
	SettledAt   time.Time                 `json:"settledAt"` // null is zero
	Replayed    bool                      `json:"-"`
}

func (i *reservationImage) reservation() tiergate.Reservation {
	if string(i.Metadata) == "null" {
		i.Metadata = nil
	}
	r := tiergate.Reservation(*i)
	r.ExpiresAt, r.CreatedAt = r.ExpiresAt.UTC(), r.CreatedAt.UTC()
	if !r.SettledAt.IsZero() {
		r.SettledAt = r.SettledAt.UTC()
	}
	return r
}

// Reserve implements tiergate.ReservationLedger.
func (l *Ledger) Reserve(ctx context.Context, r tiergate.Reservation, ttl time.Duration) (tiergate.Reservation, error) {
	if err := r.Validate(); err != nil {
		return tiergate.Reservation{}, err
	}
	holds := make([]ledgerAsk, len(r.Holds))
	for i, h := range r.Holds {
		holds[i] = ledgerAsk{
			Bucket: h.Bucket, Kind: h.Kind, Units: h.Units, Start: orNull(h.Period.Start), End: orNull(h.Period.End), Amount: h.Amount, Rev: h.Rev,
		}
	}
	var code string
	var image *reservationImage
	var now time.Time
	var hold *int32
	var available, outstanding *int64
	err := l.call(ctx, "reserve", `
		select o_code, o_at, o_reservation, o_hold, o_available, o_outstanding
		from reservation_reserve($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		[]any{r.ID, string(r.Owner), r.TeamID, r.UserID, r.Feature, r.Fingerprint, heldMetadata(r.Metadata), ttl, holds},
		[]any{&code, &now, &image, &hold, &available, &outstanding})
	switch {
	case err != nil:
		return tiergate.Reservation{}, err
	case code == "SHORT":
		return tiergate.Reservation{}, &tiergate.ShortError{Bucket: r.Holds[*hold-1].Bucket, Available: *available, Outstanding: *outstanding}
	case code == "OUT_OF_PERIOD", code == "LEARNING":
		return tiergate.Reservation{}, &tiergate.NotNowError{
			Bucket: r.Holds[*hold-1].Bucket, Now: now.UTC(), OutOfPeriod: code == "OUT_OF_PERIOD", Learning: code == "LEARNING",
		}
	case code == "REUSED":
		return tiergate.Reservation{}, tiergate.Errorf(tiergate.KeyReused, "this reservation id was used for another reservation")
	case image == nil:
		return tiergate.Reservation{}, notHeld(code)
	}
	made := image.reservation()
	made.Replayed = code == string(tiergate.ReservationHeld)
	return made, nil
}

// Extend implements tiergate.ReservationLedger.
func (l *Ledger) Extend(ctx context.Context, id string, by tiergate.Owner, ttl time.Duration) (tiergate.Reservation, error) {
	return l.settle(ctx, "extend a reservation", `select * from reservation_extend($1, $2, $3)`, id, string(by), ttl)
}

// Release implements tiergate.ReservationLedger.
func (l *Ledger) Release(ctx context.Context, id string, by tiergate.Owner) (tiergate.Reservation, error) {
	return l.settle(ctx, "release a reservation", `select * from reservation_release($1, $2)`, id, string(by))
}

// Reservation implements tiergate.ReservationLedger.
func (l *Ledger) Reservation(ctx context.Context, id string, by tiergate.Owner) (tiergate.Reservation, error) {
	return l.settle(ctx, "read a reservation", `select * from reservation_read($1, $2)`, id, string(by))
}

// settle calls a function that returns a code and a reservation.
func (l *Ledger) settle(ctx context.Context, doing, sql string, args ...any) (tiergate.Reservation, error) {
	var code string
	var image *reservationImage
	if err := l.call(ctx, doing, sql, args, []any{&code, &image}); err != nil {
		return tiergate.Reservation{}, err
	}
	if code != "" {
		return tiergate.Reservation{}, notHeld(code)
	}
	return image.reservation(), nil
}

// Commit implements tiergate.ReservationLedger.
func (l *Ledger) Commit(ctx context.Context, id string, by tiergate.Owner, actual int64, capped bool) (tiergate.Reservation, error) {
	var code string
	var image *reservationImage
	var bucket *tiergate.Bucket
	var available, outstanding *int64
	err := l.call(ctx, "commit a reservation", `select * from reservation_commit($1, $2, $3, $4)`,
		[]any{id, string(by), actual, capped}, []any{&code, &image, &bucket, &available, &outstanding})
	switch {
	case err != nil:
		return tiergate.Reservation{}, err
	case code == "SHORT":
		return tiergate.Reservation{}, &tiergate.ShortError{Bucket: *bucket, Available: *available, Outstanding: *outstanding}
	case code != "":
		return tiergate.Reservation{}, notHeld(code)
	}
	return image.reservation(), nil
}

// notHeld says why a reservation is not held any more, or was never there.
func notHeld(code string) error {
	switch code {
	case "NOT_FOUND":
		return tiergate.Errorf(tiergate.NotFound, "there is no such reservation")
	case "OTHER":
		return tiergate.Errorf(tiergate.Conflict, "the reservation was committed with another amount")
	case string(tiergate.ReservationExpired):
		return tiergate.Errorf(tiergate.Gone, "the reservation is EXPIRED, and what it held is free again")
	}
	return tiergate.Errorf(tiergate.Conflict, "the reservation is %s already", code)
}

// Add implements tiergate.GaugeLedger.
func (l *Ledger) Add(ctx context.Context, b tiergate.Bucket, item string, amount, rev int64) (int64, error) {
	var code string
	var held, available int64
	err := l.call(ctx, "add to a gauge", `select * from gauge_add($1, $2, $3, $4)`, []any{b, item, amount, rev}, []any{&code, &held, &available})
	if err == nil && code == "SHORT" {
		err = &tiergate.ShortError{Bucket: b, Available: available}
	}
	return held, err
}

// Remove implements tiergate.GaugeLedger.
func (l *Ledger) Remove(ctx context.Context, b tiergate.Bucket, item string) (int64, error) {
	var held int64
	err := l.call(ctx, "remove from a gauge", `select gauge_remove($1, $2)`, []any{b, item}, []any{&held})
	return held, err
}

// Replace implements tiergate.GaugeLedger.
func (l *Ledger) Replace(ctx context.Context, b tiergate.Bucket, items []string) (added, removed int64, err error) {
	err = l.call(ctx, "replace a gauge", `select * from gauge_replace($1, $2)`, []any{b, orNone(items)}, []any{&added, &removed})
	return added, removed, err
}
