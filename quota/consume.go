package quota

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota/spool"
)

// A draft is what one call gathers, kept for the next.
type draft struct {
	spends  []spent
	rated   []rated
	looked  []looked
	payload []byte
}

// looked is what the ledger said about a claim that was looked at in this call.
type looked struct {
	claim int
	left  tiergate.LeaseAnswer
}

// put puts what the ledger said into a state.
func (l *looked) put(s *tiergate.LimitState, now time.Time) {
	s.Min = max(0, l.left.Available)
	s.Max, s.AsOf = s.Min, now
	if s.Kind == tiergate.Quota { // what is held of others comes back only when they say so
		s.Max = max(s.Min, l.left.Available+l.left.Outstanding)
	}
	s.Exact = s.Min == s.Max
}

// fill puts all that was looked at into the states of a call, of which the first is first.
func (d *draft) fill(states []tiergate.LimitState, first int, now time.Time) {
	for i := range d.looked {
		d.looked[i].put(&states[first+d.looked[i].claim], now)
	}
}

var drafts = sync.Pool{New: func() any { return new(draft) }}

func (d *draft) free() {
	const keep = 16 << 10
	clear(d.spends)
	d.spends, d.rated, d.looked, d.payload = d.spends[:0], d.rated[:0], d.looked[:0], d.payload[:0]
	if cap(d.payload) <= keep {
		drafts.Put(d)
	}
}

// Consume takes all of a use's claims or none, and records the use durably before it returns.
// States are appended to states, one for each claim. What is denied leaves no trace but a
// count. An error is Conflict or KeyReused, about the use's key.
func (e *Engine) Consume(ctx context.Context, t *Take, states []tiergate.LimitState) (out Outcome, left []tiergate.LimitState, err error) {
	defer e.active.Add(-1)
	if e.active.Add(1); e.stopping.Load() {
		return e.ending(), states, nil
	}
	defer e.enter().calls.Add(-1)
	out, known, err := e.claimKey(t) // 1. a key that is known answers as it did
	switch {
	case err != nil:
		return out, states, err
	case known:
		return out, e.states(t, states), nil
	}
	defer e.settleKey(t, &out)
	d := drafts.Get().(*draft)
	defer d.free()
	if out = e.admit(ctx, t, d); out.Reason == tiergate.UseAllowed { // 2. each limit has room for it …
		out = e.record(t, d) // 3. … and it is on disk …
	}
	if out.Reason != tiergate.UseAllowed {
		e.undoAll(t, d) // … or nothing has happened
		e.deny(t, out.Reason)
	}
	first := len(states)
	states = e.states(t, states) // 4. what is left
	d.fill(states, first, e.Now())
	return out, states, nil
}

// ending is the outcome of a call that comes when the process ends.
func (e *Engine) ending() Outcome {
	return Outcome{Reason: tiergate.UseUnavailable, Denied: -1, RetryAfter: time.Second}
}

// claimKey begins a use under its key, if it has one, which settleKey has to end; known says
// that the use has been taken before, and out is what became of it.
func (e *Engine) claimKey(t *Take) (out Outcome, known bool, err error) {
	out = Outcome{Denied: -1}
	if t.Key == nil {
		return out, false, nil
	}
	before, err := e.replays.begin(t.Key)
	if before == nil {
		return out, false, err
	}
	return Outcome{Reason: tiergate.UseAllowed, Denied: -1, ID: before.id, Replayed: true}, true, nil
}

// settleKey says what became of the use under a key. It is deferred: after a panic the key is
// free again.
func (e *Engine) settleKey(t *Take, out *Outcome) {
	if t.Key != nil {
		e.replays.end(t.Key, out.Reason == tiergate.UseAllowed, out.ID)
	}
}

// admit takes the claims: rates first, which cost nothing to look at, then slots, then units.
func (e *Engine) admit(ctx context.Context, t *Take, d *draft) Outcome {
	now := e.now()
	for i := range t.Claims {
		if c := &t.Claims[i]; c.Kind == tiergate.Rate {
			r, ok, retry := e.takeRate(c, i, now)
			if !ok {
				return Outcome{Reason: tiergate.UseRateLimited, Denied: i, RetryAfter: retry}
			}
			d.rated = append(d.rated, r)
		}
	}
	for i := range t.Claims {
		if c := &t.Claims[i]; c.Kind == tiergate.Concurrency || c.Kind == tiergate.Gauge {
			if out := e.room(ctx, c, i, d); out.Reason != tiergate.UseAllowed {
				return out
			}
		}
	}
	for i := range t.Claims {
		if c := &t.Claims[i]; c.Kind == tiergate.Quota {
			s, v := e.spend(ctx, c, now)
			if v != got {
				return e.refusal(c, i, v)
			}
			d.spends = append(d.spends, s)
		}
	}
	return Outcome{Reason: tiergate.UseAllowed, Denied: -1}
}

// retryContended is when what others hold may have come back.
const retryContended = heartbeat

// refusal is the outcome of a claim that found no units.
func (e *Engine) refusal(c *Claim, i int, v verdict) Outcome {
	switch v {
	case away:
		return Outcome{Reason: tiergate.UseUnavailable, Denied: i, RetryAfter: highestPause}
	case contended:
		return Outcome{Reason: tiergate.UseContended, Denied: i, RetryAfter: retryContended}
	}
	out := Outcome{Reason: tiergate.UseExhausted, Denied: i}
	if c.Units <= c.Amount {
		out.RetryAfter = max(0, e.resetsIn(c))
	}
	return out
}

// room says whether a limit that is held, not used up, has room now. Nothing is taken: that
// is a reservation's.
func (e *Engine) room(ctx context.Context, c *Claim, i int, d *draft) Outcome {
	left, err := e.peek(ctx, c)
	if err == nil {
		d.looked = append(d.looked, looked{i, left})
	}
	switch {
	case err != nil && c.Fallback.Allow, err == nil && left.Available >= c.Units:
		return Outcome{Reason: tiergate.UseAllowed, Denied: -1}
	case err != nil:
		return Outcome{Reason: tiergate.UseUnavailable, Denied: i, RetryAfter: highestPause}
	case c.Kind == tiergate.Gauge:
		return Outcome{Reason: tiergate.UseExhausted, Denied: i}
	}
	return Outcome{Reason: tiergate.UseConcurrency, Denied: i, RetryAfter: retryContended}
}

// peek asks the ledger what is left of a claim's limit.
func (e *Engine) peek(ctx context.Context, c *Claim) (tiergate.LeaseAnswer, error) {
	if e.options.Gauges == nil {
		return tiergate.LeaseAnswer{}, noReservations()
	}
	if e.away() {
		return tiergate.LeaseAnswer{}, tiergate.Errorf(tiergate.Unavailable, "the ledger does not answer")
	}
	ask := tiergate.LeaseAsk{Bucket: tiergate.Bucket{Limit: c.Key, Scope: c.Scope, Subject: c.Subject}, Amount: c.Amount, Rev: c.Rev}
	if c.Calendar != nil {
		ask.Period = c.Calendar.At(e.Now())
		ask.Bucket.Period = ask.Period.ID
	}
	ctx, cancel := context.WithTimeout(ctx, e.options.Patience)
	defer cancel()
	answers, err := e.options.Gauges.Peek(ctx, []tiergate.LeaseAsk{ask})
	if err != nil {
		return tiergate.LeaseAnswer{}, err
	}
	return answers[0], nil
}

// undoAll gives back what a call took, the last first.
func (e *Engine) undoAll(t *Take, d *draft) {
	for i := len(d.spends) - 1; i >= 0; i-- {
		e.undo(&d.spends[i])
	}
	for i := range d.rated {
		e.undoRate(&d.rated[i], t.Claims[d.rated[i].claim].Units)
	}
}

// record writes the use into the usage log and waits until it is durable. When it cannot be
// written, nobody may say that the use was admitted.
func (e *Engine) record(t *Take, d *draft) Outcome {
	id := newID()
	at := t.At
	if at.IsZero() {
		at = e.Now()
	}
	d.payload = appendUse(d.payload[:0], t, at, d.spends)
	ticket, err := e.usage.Append(id, d.payload)
	if err != nil {
		return e.unrecorded(err)
	}
	if err := ticket.Wait(context.Background()); err != nil {
		if !ticket.Unwritten() {
			d.spends = d.spends[:0] // nobody knows whether it is on disk: the units stay spent
		}
		return e.unrecorded(err)
	}
	e.counts.accepted.Add(1)
	return Outcome{Reason: tiergate.UseAllowed, Denied: -1, ID: id}
}

// unrecorded is the outcome of a use that the usage log did not take.
func (e *Engine) unrecorded(err error) Outcome {
	e.counts.unrecorded.Add(1)
	return unrecordable(err)
}

// unrecordable is the outcome of a use that the usage log does not take.
func unrecordable(err error) Outcome {
	out := Outcome{Reason: tiergate.UseUnavailable, Denied: -1, RetryAfter: time.Second, Message: "Usage cannot be recorded"}
	if errors.Is(err, spool.ErrFull) {
		out.Message = "The usage log is full"
	}
	return out
}

// newID mints a UUID of version 7.
func newID() [16]byte {
	id, err := uuid.NewV7()
	if err != nil {
		panic("quota: bug: " + err.Error()) // the source of randomness never fails
	}
	return id
}

func uuidText(id [16]byte) string { return uuid.UUID(id).String() }

// Track records that a use has happened. No limit refuses it: what it took is debited when
// the ledger counts it. Claims of other limits than quotas are passed over. Errors as
// Consume's; UseUnavailable when it cannot be recorded.
func (e *Engine) Track(_ context.Context, t *Take) (out Outcome, err error) {
	defer e.active.Add(-1)
	if e.active.Add(1); e.stopping.Load() {
		return e.ending(), nil
	}
	out, known, err := e.claimKey(t)
	if known || err != nil {
		return out, err
	}
	defer e.settleKey(t, &out)
	d := drafts.Get().(*draft)
	defer d.free()
	at := t.At
	if at.IsZero() {
		at = e.Now()
	}
	for i := range t.Claims {
		if c := &t.Claims[i]; c.Kind == tiergate.Quota {
			b := tiergate.Bucket{Limit: c.Key, Scope: c.Scope, Subject: c.Subject}
			if c.Calendar != nil {
				b.Period = c.Calendar.At(at).ID
			}
			d.spends = append(d.spends, spent{bucket: b, units: c.Units})
		}
	}
	out = e.record(t, d)
	return out, nil
}

// Replay answers for a use that was taken before under the use's key, although by now it
// would be denied before any limit is looked at; false when there is none. Errors as Consume's.
func (e *Engine) Replay(t *Take) (Outcome, bool, error) {
	if t.Key == nil {
		return Outcome{Denied: -1}, false, nil
	}
	known, err := e.replays.find(t.Key)
	if known == nil || err != nil {
		return Outcome{Denied: -1}, false, err
	}
	return Outcome{Reason: tiergate.UseAllowed, Denied: -1, ID: known.id, Replayed: true}, true, nil
}

// Deny counts a denial that was made before any limit was looked at. Where it is not the subject
// that may not, because the feature, the subject or the answer is not known, it is counted in the
// figures of this process only: nobody has usage of what there is not.
func (e *Engine) Deny(t *Take, reason tiergate.UseReason) {
	switch reason {
	case tiergate.UseFlagNotFound, tiergate.UseInvalid, tiergate.UseUnavailable:
		e.counts.denied(reason)
	default:
		e.deny(t, reason)
	}
}

func (e *Engine) deny(t *Take, reason tiergate.UseReason) {
	e.counts.denied(reason)
	e.denials.add(t, reason, e.Now())
}
