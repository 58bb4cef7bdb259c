package evaluator

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"
	"unsafe"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota"
)

// What people are told. The two that applications know from elsewhere are as they know them.
const (
	needsTeam = "This limit is a team's, and no team applies: name one that the user is in"
	needsUser = "This limit is a user's: name the user"
)

func messageOf(reason tiergate.UseReason) string {
	switch reason {
	case tiergate.UseAllowed:
		return ""
	case tiergate.UseTier:
		return "Feature not available for your tier"
	case tiergate.UsePolicy:
		return "Feature not available to you"
	case tiergate.UseTargeting, tiergate.UseDisabled:
		return "Feature is switched off"
	case tiergate.UseExhausted, tiergate.UseContended, tiergate.UseRateLimited, tiergate.UseConcurrency:
		return "Usage limit exceeded"
	case tiergate.UseFlagNotFound:
		return "There is no such feature"
	}
	return "The feature cannot be decided at the moment"
}

// asked is when the use was asked about.
func (q *question) asked() time.Time {
	if q.use.Now.IsZero() {
		return time.Now()
	}
	return q.use.Now
}

// room is where the states of limits go.
func (q *question) room() []tiergate.LimitState {
	if q.use.Room == nil {
		return nil
	}
	return q.use.Room.Limits[:0]
}

// refused is denied, and told to the Counter.
func (q *question) refused(reason tiergate.UseReason) tiergate.Verdict {
	q.gate.counter.Deny(&q.take, reason)
	return q.denied(reason)
}

// replayed is the verdict about a use that was taken before, whatever is said of it by now.
func (q *question) replayed(o *quota.Outcome) tiergate.Verdict {
	q.message = ""
	return q.conclude(o, nil)
}

// denied is the verdict when nothing was counted.
func (q *question) denied(reason tiergate.UseReason) tiergate.Verdict {
	return q.conclude(&quota.Outcome{Reason: reason, Denied: -1}, nil)
}

// conclude makes the verdict of what was counted.
func (q *question) conclude(o *quota.Outcome, states []tiergate.LimitState) tiergate.Verdict {
	v := &q.verdict
	v.Allow, v.Reason, v.Limits = o.Reason == tiergate.UseAllowed, o.Reason, states
	v.RetryAfter, v.Replayed = o.RetryAfter, o.Replayed
	if v.Message = cmp.Or(q.message, o.Message); v.Message == "" {
		v.Message = messageOf(o.Reason)
	}
	if o.Denied >= 0 && o.Denied < len(q.take.Claims) {
		q.blame(&q.take.Claims[o.Denied], o.Reason)
	}
	id := o.ID
	if id == [16]byte{} {
		id = newID(q.asked())
	}
	v.ID = q.text(id)
	if q.use.Room != nil {
		q.use.Room.Limits = states
	}
	return *v
}

// blame names the limit that denied, and the tier on which it would be larger. Contention and
// outages are not cured by another tier, and neither is an override, which replaces any tier's.
func (q *question) blame(c *quota.Claim, reason tiergate.UseReason) {
	q.verdict.Denied = c.Key
	switch reason {
	case tiergate.UseExhausted, tiergate.UseRateLimited, tiergate.UseConcurrency:
		if amount, ofTier := q.tierAmount(c); ofTier {
			q.verdict.Decision.Upgrade = q.gen.upgrade(c.Key, amount)
		}
	}
}

// tierAmount is what the subject's tier has of a limit, false when an override is in its place.
func (q *question) tierAmount(c *quota.Claim) (amount int64, ofTier bool) {
	x, user := q.exceptions()
	if c.Scope == "user" {
		x = user
	}
	overrides, _ := x.Of(c.Key)
	for _, o := range overrides {
		if !ended(o.ExpiresAt, q.gate.counter.Now()) {
			return 0, false
		}
	}
	for i := range q.terms.claims {
		if q.terms.claims[i].Key == c.Key {
			return q.terms.claims[i].Amount, true
		}
	}
	return 0, false
}

// text is an id as text, in the caller's room if there is one.
func (q *question) text(id [16]byte) string {
	if q.use.Room == nil {
		return uuidText(id)
	}
	writeUUID(&q.use.Room.ID, id)
	return unsafe.String(&q.use.Room.ID[0], len(q.use.Room.ID)) // until the room is used again: see there
}

func uuidText(id [16]byte) string {
	var text [36]byte
	writeUUID(&text, id)
	return string(text[:])
}

func writeUUID(text *[36]byte, id [16]byte) {
	hex.Encode(text[0:8], id[0:4])
	hex.Encode(text[9:13], id[4:6])
	hex.Encode(text[14:18], id[6:8])
	hex.Encode(text[19:23], id[8:10])
	hex.Encode(text[24:36], id[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
}

// newID is a UUID of version 7. It names a decision for people and logs: nothing depends on
// its being hard to guess.
func newID(now time.Time) (id [16]byte) {
	binary.BigEndian.PutUint64(id[0:8], uint64(now.UnixMilli())<<16|rand.Uint64()&0x0fff|0x7000)
	binary.BigEndian.PutUint64(id[8:16], rand.Uint64()&(1<<62-1)|1<<63)
	return id
}
