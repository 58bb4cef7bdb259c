package decision

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// reserve holds what a use would take.
func (d *door) reserve(ctx *fasthttp.RequestCtx, c *call) error {
	doc, err := c.parse(ctx, false)
	if err != nil {
		return err
	}
	if err := c.read(doc, reserve, &c.question); err != nil {
		return err
	}
	bound, cancel := slow(context.Background())
	defer cancel()
	use := own(&c.question.use)
	v, r, err := d.cfg.Reservations.Reserve(bound, &use, c.question.ttl)
	if err != nil {
		return err
	}
	c.answer(ctx, &v, func(b []byte) []byte {
		b = append(b, `,"reservation":`...)
		if !v.Allow {
			return append(b, `null`...)
		}
		return appendReservation(b, &r)
	})
	return nil
}

// own copies what a use points to, for those who keep it.
func own(u *tiergate.Use) tiergate.Use {
	o := *u
	for _, s := range []*string{&o.Set, &o.Flag, &o.UserID, &o.TeamID, &o.IdempotencyKey, &o.Fingerprint} {
		*s = strings.Clone(*s)
	}
	o.Metadata = append([]byte(nil), u.Metadata...)
	o.Room = nil
	return o
}

// extend, commit, release and reservation are about the reservation that the path names.
func (d *door) extend(ctx *fasthttp.RequestCtx, c *call) error {
	ttl := defaultTTL
	err := c.settings(ctx, func(name string, v tiergate.Value) (known bool, err error) {
		if name == "ttlMs" {
			ttl, err = readTTL(v)
		}
		return name == "ttlMs", err
	})
	if err != nil {
		return err
	}
	bound, cancel := slow(context.Background())
	defer cancel()
	return d.settled(ctx, c)(d.cfg.Reservations.Extend(bound, strings.Clone(c.id), c.owner(), ttl))
}

func (d *door) commit(ctx *fasthttp.RequestCtx, c *call) error {
	actual, capped := int64(-1), false
	err := c.settings(ctx, func(name string, v tiergate.Value) (known bool, err error) {
		switch name {
		case "actual":
			actual, err = units("actual", v, 0)
			return true, err
		case "capped":
			capped = v.Kind() == tiergate.True
			if !capped && v.Kind() != tiergate.False {
				err = tiergate.FieldErrorf("capped", "capped is neither true nor false")
			}
			return true, err
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	bound, cancel := slow(context.Background())
	defer cancel()
	return d.settled(ctx, c)(d.cfg.Reservations.Commit(bound, strings.Clone(c.id), c.owner(), actual, capped))
}

func (d *door) release(ctx *fasthttp.RequestCtx, c *call) error {
	if err := c.settings(ctx, func(string, tiergate.Value) (bool, error) { return false, nil }); err != nil {
		return err
	}
	bound, cancel := slow(context.Background())
	defer cancel()
	return d.settled(ctx, c)(d.cfg.Reservations.Release(bound, strings.Clone(c.id), c.owner()))
}

func (d *door) reservation(ctx *fasthttp.RequestCtx, c *call) error {
	if err := c.checkID(); err != nil {
		return err
	}
	bound, cancel := slow(context.Background())
	defer cancel()
	return d.settled(ctx, c)(d.cfg.Reservations.Reservation(bound, strings.Clone(c.id), c.owner()))
}

// settings reads a body of few members, which may be missing altogether.
func (c *call) settings(ctx *fasthttp.RequestCtx, read func(name string, v tiergate.Value) (known bool, err error)) error {
	if err := c.checkID(); err != nil {
		return err
	}
	doc, err := c.parse(ctx, true)
	if err != nil {
		return err
	}
	for i := range doc.Len() {
		name, v := doc.KeyAt(i), doc.Index(i)
		if v.Kind() == tiergate.Null {
			continue
		}
		known, err := read(name, v)
		if err != nil {
			return err
		}
		if !known {
			return tiergate.FieldErrorf(name, "there is no member %.40q here", name)
		}
	}
	return nil
}

// checkID refuses an id that no reservation can have as one that is not there.
func (c *call) checkID() error {
	if _, err := checkText("id", c.id, MaxKeyBytes); err != nil || reservationID(c.id) != nil {
		return tiergate.Errorf(tiergate.NotFound, "there is no such reservation")
	}
	return nil
}

// owner is whose reservations the caller may touch.
func (c *call) owner() tiergate.Owner {
	if c.key == nil {
		return ""
	}
	return tiergate.Owner(c.key.TeamID)
}

// settled answers with a reservation as it is now.
func (d *door) settled(ctx *fasthttp.RequestCtx, c *call) func(tiergate.Reservation, error) error {
	return func(r tiergate.Reservation, err error) error {
		if err != nil {
			return err
		}
		resume := d.cfg.Evaluator.Generation().Resume()
		c.setRevision(ctx, &resume)
		b := ctx.Response.SwapBody(nil)[:0]
		b = append(b, `{"reservation":`...)
		b = server.AppendRevision(append(appendReservation(b, &r), `,"revision":"`...), &resume)
		ctx.Response.SwapBody(append(b, `"}`...))
		ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
		ctx.SetContentType(jsonType)
		return nil
	}
}

func appendReservation(b []byte, r *tiergate.Reservation) []byte {
	b = server.AppendString(append(b, `{"id":`...), r.ID)
	b = server.AppendString(append(b, `,"state":`...), string(r.State))
	b = server.AppendString(append(b, `,"feature":`...), r.Feature)
	b = server.AppendString(append(b, `,"subject":{"user":`...), r.UserID)
	b = server.AppendString(append(b, `,"team":`...), r.TeamID)
	b = append(b, `},"holds":[`...)
	for i := range r.Holds {
		h := &r.Holds[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = server.AppendString(append(b, `{"limit":`...), h.Bucket.Limit)
		b = server.AppendString(append(b, `,"kind":`...), string(h.Kind))
		b = server.AppendString(append(b, `,"scope":`...), h.Bucket.Scope)
		b = server.AppendString(append(b, `,"period":`...), h.Bucket.Period)
		b = append(strconv.AppendInt(append(b, `,"units":`...), h.Units, 10), '}')
	}
	b = append(b, ']')
	if r.State == tiergate.ReservationCommitted && r.Actual >= 0 { // otherwise with what was held of each
		b = strconv.AppendInt(append(b, `,"actual":`...), r.Actual, 10)
	}
	if len(r.Metadata) > 0 {
		b = append(append(b, `,"metadata":`...), r.Metadata...)
	}
	b = appendTime(append(b, `,"createdAt":`...), r.CreatedAt)
	b = appendTime(append(b, `,"expiresAt":`...), r.ExpiresAt)
	if !r.SettledAt.IsZero() {
		b = appendTime(append(b, `,"settledAt":`...), r.SettledAt.Truncate(time.Millisecond))
	}
	return append(b, '}')
}
