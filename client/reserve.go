package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/tiergate/tiergate"
)

// A Reservation holds units and slots for a long job, until it is committed, released or its
// time is over.
type Reservation struct {
	ID        string
	State     tiergate.ReservationState
	Feature   string
	Subject   Subject
	Holds     []Hold
	Actual    int64 // the units that it was committed with; negative is what was held
	Metadata  json.RawMessage
	CreatedAt time.Time
	ExpiresAt time.Time // by the ledger's clock
	SettledAt time.Time // zero while it is held
}

// A Hold is what a reservation holds of one limit.
type Hold struct {
	Limit  string
	Kind   tiergate.LimitKind
	Scope  string // "team" or "user"
	Period string // which of the limit's; "" for a limit without periods
	Units  int64
}

// Reserve holds what a use would take, for at most ttl (a second to seven days; 0 is five
// minutes) unless it is extended. The use's IdempotencyKey is the reservation's id:
// letters, digits and . _ ~ -; "" mints one. The Reservation has no ID when the Decision denies. An
// id whose reservation is settled is Conflict, or Gone when it has expired.
func (c *Client) Reserve(ctx context.Context, u Use, ttl time.Duration) (Reservation, Decision, error) {
	q := u.taking()
	q.ID, q.IdempotencyKey, q.TTL = q.IdempotencyKey, "", ttl.Milliseconds()
	var d decision
	header, err := c.send(ctx, message{method: http.MethodPost, path: "/v1/reservations?reflect=1", body: q, reserves: true}, &d)
	if err != nil {
		return Reservation{}, Decision{}, err
	}
	if d.Reservation == nil {
		d.Reservation = new(Reservation)
	}
	return *d.Reservation, d.decoded(header), nil
}

// Extend lets a reservation hold for ttl from now. Errors are NotFound, Gone when its time is
// over, and Conflict when it is settled.
func (c *Client) Extend(ctx context.Context, id string, ttl time.Duration) (Reservation, error) {
	return c.about(ctx, http.MethodPost, id, "/extend", map[string]any{"ttlMs": ttl.Milliseconds()})
}

// An Actual is what a job has used.
type Actual struct {
	Units int64 // negative is what was held
	// Capped settles with as much as there is when the limit has not as much left as was used
	// beyond what was held; otherwise that is Exhausted.
	Capped bool
}

// Commit settles a reservation with what was used. Errors as Extend's, and Exhausted.
func (c *Client) Commit(ctx context.Context, id string, a Actual) (Reservation, error) {
	body := map[string]any{"capped": a.Capped}
	if a.Units >= 0 {
		body["actual"] = a.Units
	}
	return c.about(ctx, http.MethodPost, id, "/commit", body)
}

// Release gives back all that a reservation holds. Errors as Extend's.
func (c *Client) Release(ctx context.Context, id string) (Reservation, error) {
	return c.about(ctx, http.MethodPost, id, "/release", struct{}{})
}

// Reservation looks at a reservation.
func (c *Client) Reservation(ctx context.Context, id string) (Reservation, error) {
	return c.about(ctx, http.MethodGet, id, "", nil)
}

func (c *Client) about(ctx context.Context, method, id, action string, body any) (Reservation, error) {
	var out struct {
		Reservation struct {
			Reservation
			Actual *int64
		}
	}
	_, err := c.send(ctx, message{method: method, path: "/v1/reservations/" + url.PathEscape(id) + action, body: body, reserves: true}, &out)
	r := out.Reservation.Reservation
	switch {
	case out.Reservation.Actual != nil:
		r.Actual = *out.Reservation.Actual
	case r.State == tiergate.ReservationCommitted:
		r.Actual = -1
	}
	return r, err
}

// A Held is a reservation that is extended until it is settled. Its methods may be called from
// several goroutines.
type Held struct {
	Reservation Reservation // as it was made
	client      *Client
	stop        context.CancelFunc
	ended       chan struct{}
	lost        chan struct{}
}

// Hold reserves, and extends the reservation by ttl each third of ttl until it is committed or
// released, ctx ends, or it is lost. When ctx ends nothing is released: the reservation
// expires by itself. The Held is nil when the Decision denies.
func (c *Client) Hold(ctx context.Context, u Use, ttl time.Duration) (*Held, Decision, error) {
	if ttl < time.Second {
		return nil, Decision{}, &Error{Code: tiergate.Invalid, Message: "a reservation is held for a second at least", Field: "ttlMs"}
	}
	sent := time.Now()
	r, d, err := c.Reserve(ctx, u, ttl)
	if err != nil || !d.Allow {
		return nil, d, err
	}
	beating, stop := context.WithCancel(ctx)
	h := &Held{Reservation: r, client: c, stop: stop, ended: make(chan struct{}), lost: make(chan struct{})}
	go h.beat(beating, ttl, sent)
	return h, d, nil
}

// Lost is closed when the reservation does not hold any more though it was not settled here:
// its time is over, or somebody else has settled it. The job should end.
func (h *Held) Lost() <-chan struct{} { return h.lost }

// Commit ends the extending and settles; see Client.Commit.
func (h *Held) Commit(ctx context.Context, a Actual) (Reservation, error) {
	h.end()
	return h.client.Commit(ctx, h.Reservation.ID, a)
}

// Release ends the extending and gives everything back; see Client.Release. After a Commit it
// changes nothing and is a Conflict, so that it can be deferred.
func (h *Held) Release(ctx context.Context) (Reservation, error) {
	h.end()
	return h.client.Release(ctx, h.Reservation.ID)
}

func (h *Held) end() {
	h.stop()
	<-h.ended
}

// beat extends again and again. It is sure of the reservation until ttl after the last
// extension that succeeded was sent, on this machine's monotonic clock.
func (h *Held) beat(ctx context.Context, ttl time.Duration, sure time.Time) {
	defer close(h.ended)
	defer h.stop()
	for h.client.pause(ctx, ttl/3) == nil {
		sent := time.Now()
		bound, cancel := context.WithDeadline(ctx, sure.Add(ttl))
		_, err := h.client.Extend(bound, h.Reservation.ID, ttl)
		cancel()
		switch {
		case err == nil:
			sure = sent
		case ctx.Err() != nil:
			return
		case !away(err), time.Since(sure) >= ttl:
			close(h.lost)
			return
		}
	}
}
