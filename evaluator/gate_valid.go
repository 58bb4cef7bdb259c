package evaluator

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tiergate/tiergate"
)

// Bounds of what is asked.
const (
	maxSubject        = 256      // bytes of a user's or team's id
	maxIdempotencyKey = 255      // characters
	maxUseMetadata    = 16 << 10 // bytes

	shortestHold = time.Second
	longestHold  = 7 * 24 * time.Hour // of a reservation that is not extended

	// What is tracked may be from a clock a little ahead of ours, and has waited no longer
	// than an application's own log is kept.
	maxAhead = 5 * time.Minute
	maxLate  = 30 * 24 * time.Hour
)

// validUse says what can never work, by the field's name in the use.
func validUse(u *tiergate.Use) error {
	switch {
	case u.Cost < 0 || u.Cost > tiergate.MaxAmount:
		return tiergate.FieldErrorf("cost", "cost %d is not between 1 and 2^53", u.Cost)
	case !validID(u.UserID):
		return tiergate.FieldErrorf("subject.user", "subject.user is not a text of at most %d bytes", maxSubject)
	case !validID(u.TeamID):
		return tiergate.FieldErrorf("subject.team", "subject.team is not a text of at most %d bytes", maxSubject)
	case !validKey(u.IdempotencyKey):
		return tiergate.FieldErrorf("idempotencyKey", "idempotencyKey is not 1 to %d printable ASCII characters", maxIdempotencyKey)
	case len(u.Metadata) > maxUseMetadata:
		return tiergate.FieldErrorf("metadata", "metadata is larger than %d bytes", maxUseMetadata)
	case bytes.Contains(u.Metadata, []byte(`\u0000`)): // which a database does not take
		return tiergate.FieldErrorf("metadata", "metadata holds a zero character")
	}
	return nil
}

// validID says whether an id can be stored: the user's may be any that the caller names.
func validID(id string) bool {
	return len(id) <= maxSubject && strings.IndexByte(id, 0) < 0 && utf8.ValidString(id)
}

func validKey(key string) bool {
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return false
		}
	}
	return len(key) <= maxIdempotencyKey
}

func validTTL(ttl time.Duration) error {
	if ttl < shortestHold || ttl > longestHold {
		return tiergate.FieldErrorf("ttlMs", "ttlMs is not between a second and seven days")
	}
	return nil
}

// validTrack says what cannot be recorded: a feature whose name none can have, and a time that
// is not one of the last days.
func (q *question) validTrack() error {
	if _, known := q.gen.flag(q.use.Set, q.use.Flag); !known && q.gen.limited.features[q.use.Flag] == nil {
		if err := tiergate.ValidName("feature", q.use.Flag); err != nil {
			return err
		}
	}
	if at := q.use.At; !at.IsZero() {
		now := q.gate.counter.Now()
		if at.After(now.Add(maxAhead)) || at.Before(now.Add(-maxLate)) {
			return tiergate.FieldErrorf("at", "at is more than 5 minutes ahead or older than 30 days")
		}
	}
	return nil
}
