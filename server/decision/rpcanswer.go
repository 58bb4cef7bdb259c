package decision

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/structvalue"
	tiergatev1 "github.com/tiergate/tiergate/internal/wire/tiergate/v1"
)

// answer puts the verdict about the call's question into a message.
func (s *service) answer(c *rpcCall, to *tiergatev1.Verdict, v *tiergate.Verdict) error {
	c.resume = v.Resume
	return s.fill(to, v, c.question.use.Flag, c.stale)
}

// fill puts a verdict into a message, which holds on to nothing that the next call overwrites.
func (s *service) fill(to *tiergatev1.Verdict, v *tiergate.Verdict, feature string, stale bool) error {
	to.Allow = v.Allow
	to.Status = int32(v.Reason.Status())
	to.Reason = string(v.Reason)
	to.Message = messageOf(v)
	to.Feature = feature
	to.Variant = v.Decision.Variant
	to.Tier = v.Decision.Tier
	to.Upgrade = v.Decision.Upgrade
	to.DeniedBy = v.Denied
	to.Revision = s.telling(&v.Resume).text
	to.Stale = stale
	to.Replayed = v.Replayed
	to.DecisionId = strings.Clone(v.ID)
	if v.RetryAfter > 0 {
		ms := ceil(v.RetryAfter, time.Millisecond)
		to.RetryAfterMs = &ms
	}
	if v.Decision.Value != nil {
		var err error
		if to.Value, err = structvalue.OfJSON(v.Decision.Value); err != nil {
			return fmt.Errorf("tell the value of %s: %w", feature, err)
		}
	}
	to.Limits = limitsOf(v.Limits)
	return nil
}

func limitsOf(limits []tiergate.LimitState) []*tiergatev1.Limit {
	if len(limits) == 0 {
		return nil
	}
	all := make([]struct {
		limit  tiergatev1.Limit
		asOf   timestamppb.Timestamp
		resets int64
	}, len(limits))
	to := make([]*tiergatev1.Limit, len(limits))
	for i := range limits {
		l, one := &limits[i], &all[i]
		m := &one.limit
		m.Key, m.Kind, m.Limit = l.Key, string(l.Kind), l.Amount
		m.RemainingMin, m.RemainingMax, m.Exact = l.Min, l.Max, l.Exact
		if l.ResetsIn >= 0 {
			one.resets = ceil(l.ResetsIn, time.Millisecond)
			m.ResetsInMs = &one.resets
		}
		if !l.AsOf.IsZero() {
			setTime(&one.asOf, l.AsOf)
			m.AsOf = &one.asOf
		}
		to[i] = m
	}
	return to
}

// setTime tells times as the HTTP door does, to the millisecond.
func setTime(to *timestamppb.Timestamp, t time.Time) {
	t = t.Truncate(time.Millisecond)
	to.Seconds, to.Nanos = t.Unix(), int32(t.Nanosecond())
}

// timeOf returns nil for the zero time.
func timeOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	m := new(timestamppb.Timestamp)
	setTime(m, t)
	return m
}

// results tells what became of the items of a batch.
func (s *service) results(ctx context.Context, c *rpcCall) ([]*tiergatev1.BatchResult, error) {
	all := make([]*tiergatev1.BatchResult, len(c.batch))
	for i := range c.batch {
		it := &c.batch[i]
		if it.err != nil {
			all[i] = &tiergatev1.BatchResult{Result: &tiergatev1.BatchResult_Problem{Problem: s.problem(ctx, c.kind, it.err)}}
			continue
		}
		v := new(tiergatev1.Verdict)
		if err := s.fill(v, &it.verdict, it.question.use.Flag, c.stale); err != nil {
			return nil, err
		}
		all[i] = &tiergatev1.BatchResult{Result: &tiergatev1.BatchResult_Verdict{Verdict: v}}
	}
	return all, nil
}

func reservationOf(r *tiergate.Reservation) (*tiergatev1.Reservation, error) {
	m := &tiergatev1.Reservation{
		Id: r.ID, State: string(r.State), Feature: r.Feature, Subject: &tiergatev1.Subject{User: r.UserID, Team: r.TeamID},
		CreatedAt: timeOf(r.CreatedAt), ExpiresAt: timeOf(r.ExpiresAt), SettledAt: timeOf(r.SettledAt),
	}
	for i := range r.Holds {
		h := &r.Holds[i]
		m.Holds = append(m.Holds, &tiergatev1.Hold{
			Limit: h.Bucket.Limit, Kind: string(h.Kind), Scope: h.Bucket.Scope, Period: h.Bucket.Period, Units: h.Units,
		})
	}
	if r.State == tiergate.ReservationCommitted && r.Actual >= 0 { // otherwise with what was held of each
		m.Actual = &r.Actual
	}
	var err error
	m.Metadata, err = structOf(r.Metadata)
	return m, err
}

// structOf makes a message of the JSON of an object; nil for none.
func structOf(text json.RawMessage) (*structpb.Struct, error) {
	if len(text) == 0 {
		return nil, nil
	}
	v, err := structvalue.OfJSON(text)
	if err != nil {
		return nil, fmt.Errorf("tell the metadata of a reservation: %w", err)
	}
	return v.GetStructValue(), nil
}
