package decision

import (
	"context"

	"github.com/tiergate/tiergate"
	tiergatev1 "github.com/tiergate/tiergate/internal/wire/tiergate/v1"
)

// Reserve holds what a use would take, until it is committed, released or expired.
func (s *service) Reserve(ctx context.Context, req *tiergatev1.ReserveRequest) (*tiergatev1.ReserveResponse, error) {
	if s.door.cfg.Reservations == nil {
		return s.UnimplementedDecisionServiceServer.Reserve(ctx, req)
	}
	response := &tiergatev1.ReserveResponse{Verdict: new(tiergatev1.Verdict)}
	err := s.serve(ctx, reserve, func(c *rpcCall) error {
		c.putReserve(req)
		if err := c.readForm(); err != nil {
			return err
		}
		bound, cancel := slow(ctx)
		defer cancel()
		use := own(&c.question.use)
		v, r, err := s.door.cfg.Reservations.Reserve(bound, &use, c.question.ttl)
		if err == nil && v.Allow {
			response.Reservation, err = reservationOf(&r)
		}
		if err != nil {
			return err
		}
		return s.answer(c, response.Verdict, &v)
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// GetReservation returns a reservation as it is now.
func (s *service) GetReservation(ctx context.Context, req *tiergatev1.GetReservationRequest) (*tiergatev1.GetReservationResponse, error) {
	if s.door.cfg.Reservations == nil {
		return s.UnimplementedDecisionServiceServer.GetReservation(ctx, req)
	}
	r, revision, err := s.settled(ctx, req.GetId(), func(ctx context.Context, c *rpcCall) (tiergate.Reservation, error) {
		return s.door.cfg.Reservations.Reservation(ctx, c.id, c.owner())
	})
	if err != nil {
		return nil, err
	}
	return &tiergatev1.GetReservationResponse{Reservation: r, Revision: revision}, nil
}

// ExtendReservation holds a reservation for longer.
func (s *service) ExtendReservation(ctx context.Context, req *tiergatev1.ExtendReservationRequest) (*tiergatev1.ExtendReservationResponse, error) {
	if s.door.cfg.Reservations == nil {
		return s.UnimplementedDecisionServiceServer.ExtendReservation(ctx, req)
	}
	r, revision, err := s.settled(ctx, req.GetId(), func(ctx context.Context, c *rpcCall) (tiergate.Reservation, error) {
		ttl := defaultTTL
		if ms := req.GetTtlMs(); ms != 0 {
			var err error
			if ttl, err = readTTL(c.maker.Int(ms)); err != nil {
				return tiergate.Reservation{}, err
			}
		}
		return s.door.cfg.Reservations.Extend(ctx, c.id, c.owner(), ttl)
	})
	if err != nil {
		return nil, err
	}
	return &tiergatev1.ExtendReservationResponse{Reservation: r, Revision: revision}, nil
}

// CommitReservation settles a reservation with what was really used.
func (s *service) CommitReservation(ctx context.Context, req *tiergatev1.CommitReservationRequest) (*tiergatev1.CommitReservationResponse, error) {
	if s.door.cfg.Reservations == nil {
		return s.UnimplementedDecisionServiceServer.CommitReservation(ctx, req)
	}
	r, revision, err := s.settled(ctx, req.GetId(), func(ctx context.Context, c *rpcCall) (tiergate.Reservation, error) {
		actual := int64(-1)
		if req.Actual != nil {
			var err error
			if actual, err = units("actual", c.maker.Int(req.GetActual()), 0); err != nil {
				return tiergate.Reservation{}, err
			}
		}
		return s.door.cfg.Reservations.Commit(ctx, c.id, c.owner(), actual, req.GetCapped())
	})
	if err != nil {
		return nil, err
	}
	return &tiergatev1.CommitReservationResponse{Reservation: r, Revision: revision}, nil
}

// ReleaseReservation ends a reservation that used nothing.
func (s *service) ReleaseReservation(ctx context.Context, req *tiergatev1.ReleaseReservationRequest) (*tiergatev1.ReleaseReservationResponse, error) {
	if s.door.cfg.Reservations == nil {
		return s.UnimplementedDecisionServiceServer.ReleaseReservation(ctx, req)
	}
	r, revision, err := s.settled(ctx, req.GetId(), func(ctx context.Context, c *rpcCall) (tiergate.Reservation, error) {
		return s.door.cfg.Reservations.Release(ctx, c.id, c.owner())
	})
	if err != nil {
		return nil, err
	}
	return &tiergatev1.ReleaseReservationResponse{Reservation: r, Revision: revision}, nil
}

// settled does something with the reservation of an id and returns it as it is then.
func (s *service) settled(
	ctx context.Context, id string, do func(context.Context, *rpcCall) (tiergate.Reservation, error),
) (m *tiergatev1.Reservation, revision string, err error) {
	err = s.serve(ctx, unasked, func(c *rpcCall) error {
		c.id = id
		if err := c.checkID(); err != nil {
			return err
		}
		bound, cancel := slow(ctx)
		defer cancel()
		r, err := do(bound, c)
		if err != nil {
			return err
		}
		c.resume = s.newest()
		revision = s.telling(&c.resume).text
		m, err = reservationOf(&r)
		return err
	})
	return m, revision, err
}

// AddToGauge adds an item to what a subject holds.
func (s *service) AddToGauge(ctx context.Context, req *tiergatev1.AddToGaugeRequest) (*tiergatev1.AddToGaugeResponse, error) {
	if s.door.cfg.Gauges == nil {
		return s.UnimplementedDecisionServiceServer.AddToGauge(ctx, req)
	}
	v, err := s.gauge(ctx, hold, func(c *rpcCall) { c.putItem(req.GetQuestion(), req.GetItem()) })
	if err != nil {
		return nil, err
	}
	return &tiergatev1.AddToGaugeResponse{Verdict: v}, nil
}

// RemoveFromGauge removes an item from what a subject holds.
func (s *service) RemoveFromGauge(ctx context.Context, req *tiergatev1.RemoveFromGaugeRequest) (*tiergatev1.RemoveFromGaugeResponse, error) {
	if s.door.cfg.Gauges == nil {
		return s.UnimplementedDecisionServiceServer.RemoveFromGauge(ctx, req)
	}
	v, err := s.gauge(ctx, drop, func(c *rpcCall) { c.putItem(req.GetQuestion(), req.GetItem()) })
	if err != nil {
		return nil, err
	}
	return &tiergatev1.RemoveFromGaugeResponse{Verdict: v}, nil
}

// ReplaceGauge says what a subject holds.
func (s *service) ReplaceGauge(ctx context.Context, req *tiergatev1.ReplaceGaugeRequest) (*tiergatev1.ReplaceGaugeResponse, error) {
	if s.door.cfg.Gauges == nil {
		return s.UnimplementedDecisionServiceServer.ReplaceGauge(ctx, req)
	}
	v, err := s.gauge(ctx, replace, func(c *rpcCall) { c.putItems(req.GetQuestion(), req.GetItems()) })
	if err != nil {
		return nil, err
	}
	return &tiergatev1.ReplaceGaugeResponse{Verdict: v}, nil
}

func (s *service) gauge(ctx context.Context, k kind, put func(c *rpcCall)) (*tiergatev1.Verdict, error) {
	to := new(tiergatev1.Verdict)
	err := s.serve(ctx, k, func(c *rpcCall) error {
		put(c)
		if err := c.readForm(); err != nil {
			return err
		}
		bound, cancel := slow(ctx)
		defer cancel()
		v, err := s.door.askGauge(bound, &c.call)
		if err != nil {
			return err
		}
		return s.answer(c, to, &v)
	})
	return to, err
}
