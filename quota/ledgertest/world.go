// Package ledgertest holds what every ledger has to keep, as one suite of tests: examples
// that say the rules one by one, and a state machine that sends the same random messages to
// a ledger and to quota.Memory, the plain form of the rules, and compares all that they say.
package ledgertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tiergate/tiergate"
)

// A Ledger is everything that one keeps.
type Ledger interface {
	tiergate.Ledger
	tiergate.ReservationLedger
	tiergate.GaugeLedger
}

// A World is a ledger and what moves it in a test.
type World struct {
	Ledger   Ledger
	Set      func(now time.Time) // sets the ledger's clock
	Failover func()              // another life of the ledger begins
	Reset    func()              // nothing has happened yet
	Sums     func() []Sum        // all buckets that are not empty, in any order
}

// A Sum is what a bucket says of itself, and what follows from all that hangs on it.
type Sum struct {
	Bucket         tiergate.Bucket
	Amount, Rev    int64
	Kept, Followed Counted
}

// Counted are the parts of a bucket.
type Counted struct{ Used, Leased, Reserved, Forfeited int64 }

// Check compares what every bucket says of itself with what follows.
func Check(t testing.TB, sums []Sum) {
	t.Helper()
	for _, s := range sums {
		if s.Kept != s.Followed {
			t.Errorf("bucket %+v keeps %+v, and what hangs on it says %+v", s.Bucket, s.Kept, s.Followed)
		}
	}
}

// Start is when the clock of every test begins.
var Start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// Today is a period that holds Start.
var Today = tiergate.Period{ID: "2026-11-24", Start: Start.Truncate(24 * time.Hour), End: Start.Truncate(24 * time.Hour).Add(24 * time.Hour)}

// A story is a World with a clock that goes on and holders that remember their tokens.
type story struct {
	*testing.T
	World
	now    time.Time
	tokens map[string]string
	count  int
}

// tell begins a story in a world where nothing has happened.
func tell(t *testing.T, w World) *story {
	t.Helper()
	w.Reset()
	w.Set(Start)
	s := &story{T: t, World: w, now: Start, tokens: map[string]string{}}
	t.Cleanup(func() { Check(t, w.Sums()) })
	return s
}

func (s *story) wait(d time.Duration) {
	s.now = s.now.Add(d)
	s.Set(s.now)
}

func (s *story) token() string {
	s.count++
	return fmt.Sprint("token-", s.count)
}

// says sends a holder's next message.
func (s *story) says(holder string, asks ...tiergate.LeaseAsk) tiergate.Exchanged {
	s.Helper()
	x := tiergate.Exchange{Holder: holder, Previous: s.tokens[holder], Token: s.token(), Asks: asks}
	return s.sends(x)
}

func (s *story) sends(x tiergate.Exchange) tiergate.Exchanged {
	s.Helper()
	out, err := s.Ledger.Exchange(s.Context(), x)
	if err != nil {
		s.Fatalf("%s's exchange: %v", x.Holder, err)
	}
	s.tokens[x.Holder] = x.Token
	return out
}

// asks sends a holder's next message with one ask and returns its answer.
func (s *story) asks(holder string, ask tiergate.LeaseAsk) tiergate.LeaseAnswer {
	s.Helper()
	return s.says(holder, ask).Answers[0]
}

// counts uploads usage as the next batch of a log.
func (s *story) counts(log string, from int64, usage ...tiergate.Usage) tiergate.Uploaded {
	s.Helper()
	b := batch(log, from, usage...)
	up, err := s.Ledger.Upload(s.Context(), b)
	if err != nil || up.At != b.To || up.Hash != b.After {
		s.Fatalf("upload of %s from %d: %+v, %v", log, from, up, err)
	}
	return up
}

// batch is one of a log whose hashes are its places.
func batch(log string, from int64, usage ...tiergate.Usage) tiergate.UsageBatch {
	to := from + 100
	return tiergate.UsageBatch{Log: log, From: from, To: to, Before: hashAt(from), After: hashAt(to), Usage: usage}
}

func hashAt(place int64) string {
	if place == 0 {
		return ""
	}
	return fmt.Sprint("hash-", place)
}

// want is an ask for today's bucket of an exact quota: fence 1, all as of revision 1.
func want(amount, granted, spent, need int64) tiergate.LeaseAsk {
	return tiergate.LeaseAsk{Bucket: exports, Period: Today, Amount: amount, Rev: 1, Fence: 1, Granted: granted, Spent: spent, Need: need, Least: min(need, 1), Want: need}
}

var exports = tiergate.Bucket{Limit: "exports", Scope: "team", Subject: "acme", Period: Today.ID}

// used is one event that took units from the bucket exports, for a holder or nobody.
func used(holder string, units int64) tiergate.Usage {
	return tiergate.Usage{
		ID: "e", At: Start, TeamID: "acme", UserID: "alice", Feature: "exports", Units: units, Events: 1,
		Spends: []tiergate.Spend{{Bucket: exports, Holder: holder, Units: units}},
	}
}

func keyed(u tiergate.Usage, key, fingerprint string) tiergate.Usage {
	u.Key = &tiergate.UsageKey{Scope: "acme", Key: key, Fingerprint: fingerprint}
	return u
}

// left is what the bucket exports has left of an amount.
func (s *story) left(amount int64) int64 {
	s.Helper()
	out, err := s.Ledger.Peek(s.Context(), []tiergate.LeaseAsk{{Bucket: exports, Amount: amount}})
	if err != nil {
		s.Fatal(err)
	}
	return out[0].Available
}

// part returns the bucket exports as it is kept.
func (s *story) part() Counted {
	for _, sum := range s.Sums() {
		if sum.Bucket == exports {
			return sum.Kept
		}
	}
	return Counted{}
}

func (s *story) same(what string, want, got any) {
	s.Helper()
	if diff := cmp.Diff(want, got, asKept...); diff != "" {
		s.Errorf("%s mismatch (-want +got):\n%s", what, diff)
	}
}

// asKept compares what a ledger answers: of a reservation's holds it keeps no more than
// what is held.
var asKept = []cmp.Option{
	cmpopts.IgnoreFields(tiergate.Hold{}, "Period", "Amount", "Rev"), cmpopts.EquateEmpty(),
	cmpopts.IgnoreFields(tiergate.ShortError{}, "Bucket"),
}

func code(t testing.TB, what string, err error, want tiergate.Code) {
	t.Helper()
	if tiergate.CodeOf(err) != want {
		t.Errorf("%s: %v, want code %q", what, err, want)
	}
}
