package ledgertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
)

func runReservations(t *testing.T, w World) {
	for name, rule := range map[string]func(*story){
		"reserving": reserving, "a reservation that does not fit": tooMuch, "committing less, the same, and more": committing,
		"committing with a cap": capped, "settling once": settledOnce, "asking again for one that is settled": settledAgain, "another team's": otherTeam, "an id for something else": otherReservation,
		"expiry": expiring, "more expire than end at once": manyExpire, "expiry without anybody asking": expiringByLeases, "extending": extending, "bad reservations": badReservations,
		"the period of the hold": periodOfHold, "a period that it is not": notThatPeriod, "slots": slots, "seats": seats,
	} {
		t.Run(name, func(t *testing.T) { rule(tell(t, w)) })
	}
}

// booking is a reservation of units of today's bucket of exports, which has 10.
func booking(id string, units int64) tiergate.Reservation {
	return tiergate.Reservation{
		ID: id, Owner: "acme", TeamID: "acme", UserID: "alice", Feature: "exports", Fingerprint: "f", Metadata: json.RawMessage(`{"job":  1}`),
		Holds: []tiergate.Hold{{Bucket: exports, Kind: tiergate.Quota, Units: units, Period: Today, Amount: 10, Rev: 1}},
	}
}

func (s *story) reserves(r tiergate.Reservation) tiergate.Reservation {
	s.Helper()
	out, err := s.Ledger.Reserve(s.Context(), r, time.Minute)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

// A reservation sets its units aside. The same again is the same reservation, and says so.
func reserving(s *story) {
	want := booking("r", 4)
	want.State, want.CreatedAt, want.ExpiresAt = tiergate.ReservationHeld, Start, Start.Add(time.Minute)
	s.same("the reservation", want, s.reserves(booking("r", 4)))
	again := want
	again.Replayed = true
	s.same("the same again", again, s.reserves(booking("r", 4)))
	s.same("the bucket", Counted{Reserved: 4}, s.part())
	got, err := s.Ledger.Reservation(s.Context(), "r", "acme")
	if err != nil {
		s.Fatal(err)
	}
	s.same("reading it", want, got)
}

// All holds or none: the answer says which one does not fit, and that somebody wants it.
func tooMuch(s *story) {
	other := tiergate.Bucket{Limit: "trainings", Scope: "team", Subject: "acme"}
	s.asks("h", want(10, 0, 0, 8))
	r := booking("r", 3)
	r.Holds = append([]tiergate.Hold{{Bucket: other, Kind: tiergate.Quota, Units: 1, Amount: 5, Rev: 1}}, r.Holds...)
	_, err := s.Ledger.Reserve(s.Context(), r, time.Minute)
	code(s, "too much", err, tiergate.Exhausted)
	if short, ok := errors.AsType[*tiergate.ShortError](err); !ok || *short != (tiergate.ShortError{Bucket: exports, Available: 2, Outstanding: 8}) {
		s.Errorf("%+v", short)
	}
	s.same("the recall", []tiergate.Bucket{exports}, s.says("h").Recall)
	_, err = s.Ledger.Reservation(s.Context(), "r", "acme")
	code(s, "reading it", err, tiergate.NotFound)
	out, err := s.Ledger.Peek(s.Context(), []tiergate.LeaseAsk{{Bucket: other, Amount: 5}})
	if err != nil || out[0].Available != 5 {
		s.Errorf("of the other one are left %+v, %v", out, err)
	}
}

// What was really used counts; the rest is free. More than was held has to fit.
func committing(s *story) {
	for id, actual := range map[string]int64{"less": 1, "same": 2, "more": 3, "held": -7} {
		s.reserves(booking(id, 2))
		r, err := s.Ledger.Commit(s.Context(), id, "acme", actual, false)
		if err != nil || r.State != tiergate.ReservationCommitted || r.Actual != max(actual, -1) || !r.SettledAt.Equal(s.now) {
			s.Errorf("%s: %+v, %v", id, r, err)
		}
	}
	s.same("the bucket", Counted{Used: 8}, s.part())
	s.reserves(booking("much more", 1))
	_, err := s.Ledger.Commit(s.Context(), "much more", "acme", 3, false)
	if short, ok := errors.AsType[*tiergate.ShortError](err); !ok || *short != (tiergate.ShortError{Bucket: exports, Available: 1}) {
		s.Errorf("much more: %v", err)
	}
	s.same("it is held still", Counted{Used: 8, Reserved: 1}, s.part())
}

// With a cap, more than there is settles with as much as there is.
func capped(s *story) {
	s.asks("h", want(10, 0, 0, 5))
	s.reserves(booking("r", 2))
	for range 2 {
		r, err := s.Ledger.Commit(s.Context(), "r", "acme", 9, true)
		if err != nil || r.Actual != 5 {
			s.Errorf("%+v, %v", r, err)
		}
	}
	s.same("the bucket", Counted{Used: 5, Leased: 5}, s.part())
}

// Settling again is the same when it is the same, and a conflict otherwise.
func settledOnce(s *story) {
	s.reserves(booking("c", 2))
	s.reserves(booking("r", 2))
	_, first := s.Ledger.Commit(s.Context(), "c", "acme", 1, false)
	_, second := s.Ledger.Commit(s.Context(), "c", "acme", 1, false)
	_, other := s.Ledger.Commit(s.Context(), "c", "acme", 2, false)
	_, released := s.Ledger.Release(s.Context(), "c", "acme")
	_, extended := s.Ledger.Extend(s.Context(), "c", "acme", time.Hour)
	_, release := s.Ledger.Release(s.Context(), "r", "acme")
	_, again := s.Ledger.Release(s.Context(), "r", "acme")
	_, commit := s.Ledger.Commit(s.Context(), "r", "acme", 1, false)
	for _, c := range []struct {
		what string
		err  error
		code tiergate.Code
	}{
		{"commit", first, ""},
		{"commit again", second, ""},
		{"commit another amount", other, tiergate.Conflict},
		{"release what is committed", released, tiergate.Conflict},
		{"extend what is committed", extended, tiergate.Conflict},
		{"release", release, ""},
		{"release again", again, ""},
		{"commit what is released", commit, tiergate.Conflict},
	} {
		code(s, c.what, c.err, c.code)
	}
	s.same("the bucket", Counted{Used: 1}, s.part())
}

// What is settled is not held any more: whoever asks again under its id learns what became of
// it, and nothing is set aside.
func settledAgain(s *story) {
	for _, id := range []string{"c", "r", "e"} {
		s.reserves(booking(id, 1))
	}
	_, committed := s.Ledger.Commit(s.Context(), "c", "acme", 1, false)
	_, released := s.Ledger.Release(s.Context(), "r", "acme")
	s.wait(time.Minute)
	if err := errors.Join(committed, released); err != nil {
		s.Fatal(err)
	}
	for _, settled := range []struct {
		id   string
		code tiergate.Code
		says string
	}{
		{"c", tiergate.Conflict, "COMMITTED"}, {"r", tiergate.Conflict, "RELEASED"}, {"e", tiergate.Gone, "EXPIRED"},
	} {
		_, err := s.Ledger.Reserve(s.Context(), booking(settled.id, 1), time.Minute)
		if code(s, settled.id, err, settled.code); err != nil && !strings.Contains(err.Error(), settled.says) {
			s.Errorf("%s: %v, which does not say %s", settled.id, err, settled.says)
		}
		other := booking(settled.id, 1)
		other.Fingerprint = "g"
		_, err = s.Ledger.Reserve(s.Context(), other, time.Minute)
		code(s, settled.id+" for something else", err, tiergate.KeyReused)
	}
	s.same("the bucket", Counted{Used: 1}, s.part())
}

// A team never learns that another one's reservation exists, or that one of callers without a
// key does: not even when it takes the same id for its own.
func otherTeam(s *story) {
	s.reserves(booking("r", 2))
	for _, owner := range []tiergate.Owner{"globex", ""} {
		s.sharesNothing("r", owner)
	}
	if _, err := s.Ledger.Commit(s.Context(), "r", "acme", 1, false); err != nil {
		s.Error(err)
	}
	s.same("the bucket", Counted{Used: 1, Reserved: 2}, s.part())
	for _, owner := range []tiergate.Owner{"globex", ""} {
		if r, err := s.Ledger.Reservation(s.Context(), "r", owner); err != nil || r.Owner != owner || r.State != tiergate.ReservationHeld {
			s.Errorf("%q's own: %+v, %v", owner, r, err)
		}
	}
}

// sharesNothing says that an owner cannot touch acme's reservation, and makes one of the same id.
func (s *story) sharesNothing(id string, owner tiergate.Owner) {
	s.Helper()
	_, read := s.Ledger.Reservation(s.Context(), id, owner)
	_, commit := s.Ledger.Commit(s.Context(), id, owner, 1, false)
	_, release := s.Ledger.Release(s.Context(), id, owner)
	_, extend := s.Ledger.Extend(s.Context(), id, owner, time.Hour)
	for what, err := range map[string]error{"read": read, "commit": commit, "release": release, "extend": extend} {
		code(s, what, err, tiergate.NotFound)
	}
	r := booking(id, 1)
	r.Owner, r.Fingerprint = owner, "of "+string(owner)
	if made := s.reserves(r); made.Replayed {
		s.Errorf("%q is told of %+v", owner, made)
	}
}

// An id stands for one reservation of its owner.
func otherReservation(s *story) {
	s.reserves(booking("r", 2))
	r := booking("r", 2)
	r.Fingerprint = "g"
	_, err := s.Ledger.Reserve(s.Context(), r, time.Minute)
	code(s, "reserve", err, tiergate.KeyReused)
}

// When its time is over what it held is free, and settling it is too late.
func expiring(s *story) {
	s.reserves(booking("r", 2))
	s.wait(time.Minute - time.Millisecond)
	s.left(10)
	s.same("in time", Counted{Reserved: 2}, s.part())
	s.wait(time.Millisecond)
	if left := s.left(10); left != 10 {
		s.Errorf("%d are left", left)
	}
	_, commit := s.Ledger.Commit(s.Context(), "r", "acme", 1, false)
	code(s, "commit", commit, tiergate.Gone)
	_, extend := s.Ledger.Extend(s.Context(), "r", "acme", time.Minute)
	code(s, "extend", extend, tiergate.Gone)
	r, err := s.Ledger.Release(s.Context(), "r", "acme")
	if err != nil || r.State != tiergate.ReservationExpired {
		s.Errorf("release: %+v, %v", r, err)
	}
}

// However many are over, and whoever else's turn it is, nobody settles one whose time is over.
func manyExpire(s *story) {
	for i := range 70 {
		s.reserves(booking(fmt.Sprint("r", i), 0))
		s.wait(time.Millisecond)
	}
	s.wait(time.Minute)
	_, commit := s.Ledger.Commit(s.Context(), "r69", "acme", 0, false)
	code(s, "commit", commit, tiergate.Gone)
	for i := range 70 {
		_, again := s.Ledger.Reserve(s.Context(), booking(fmt.Sprint("r", i), 0), time.Minute)
		code(s, fmt.Sprint("again ", i), again, tiergate.Gone)
	}
}

// Leases get what a reservation held when its time is over, though nobody asks for reservations.
func expiringByLeases(s *story) {
	s.reserves(booking("r", 9))
	if a := s.asks("h", want(10, 0, 0, 5)); a.Granted != 1 {
		s.Errorf("while it is held: %+v", a)
	}
	s.wait(time.Minute)
	if a := s.asks("h", want(10, 1, 0, 5)); a.Granted != 5 {
		s.Errorf("when its time is over: %+v", a)
	}
}

// Extending makes it longer and never shorter.
func extending(s *story) {
	s.reserves(booking("r", 2))
	s.wait(30 * time.Second)
	for ttl, want := range map[time.Duration]time.Duration{time.Second: time.Minute, 0: time.Minute} {
		r, err := s.Ledger.Extend(s.Context(), "r", "acme", ttl)
		if err != nil || !r.ExpiresAt.Equal(Start.Add(want)) {
			s.Errorf("by %v: %v, %v", ttl, r.ExpiresAt, err)
		}
	}
	r, err := s.Ledger.Extend(s.Context(), "r", "acme", time.Minute)
	if err != nil || !r.ExpiresAt.Equal(s.now.Add(time.Minute)) {
		s.Errorf("%v, %v", r.ExpiresAt, err)
	}
}

// What no ledger holds is Invalid: a bucket twice would be held twice of what it has once.
func badReservations(s *story) {
	twice, negative, gauge, nameless := booking("r", 6), booking("r", -1), booking("r", 1), booking("", 1)
	twice.Holds = append(twice.Holds, twice.Holds[0])
	gauge.Holds[0].Kind = tiergate.Gauge
	for what, r := range map[string]tiergate.Reservation{"twice": twice, "negative": negative, "a gauge": gauge, "nameless": nameless} {
		_, err := s.Ledger.Reserve(s.Context(), r, time.Minute)
		code(s, what, err, tiergate.Invalid)
	}
	s.same("the bucket", Counted{}, s.part())
}

// It settles into the period in which it was made, and none is made for another one.
func periodOfHold(s *story) {
	if _, err := s.Ledger.Reserve(s.Context(), booking("r", 4), 24*time.Hour); err != nil {
		s.Fatal(err)
	}
	s.wait(13 * time.Hour)
	_, err := s.Ledger.Reserve(s.Context(), booking("late", 1), time.Minute)
	s.notNow("reserving in yesterday", err, tiergate.NotNowError{Bucket: exports, Now: s.now, OutOfPeriod: true})
	next := booking("next", 6)
	next.Holds[0].Bucket.Period, next.Holds[0].Period = "next", tiergate.Period{ID: "next", Start: Today.End}
	s.reserves(next)
	if _, err := s.Ledger.Commit(s.Context(), "r", "acme", 3, false); err != nil {
		s.Fatal(err)
	}
	s.same("yesterday's bucket", Counted{Used: 3}, s.part())
	out, err := s.Ledger.Peek(s.Context(), []tiergate.LeaseAsk{{Bucket: next.Holds[0].Bucket, Amount: 10}})
	if err != nil || out[0].Available != 4 {
		s.Errorf("of today's bucket are left %+v, %v", out, err)
	}
}

// That it is not the period is no word about what is left: it is said of whichever hold it is
// true, also where another one has nothing left, nobody is asked for anything because of it,
// and what was reserved before is answered as it is.
func notThatPeriod(s *story) {
	s.asks("h", want(10, 0, 0, 8))
	if _, err := s.Ledger.Reserve(s.Context(), booking("before", 2), 24*time.Hour); err != nil {
		s.Fatal(err)
	}
	r := booking("r", 1)
	tomorrow := tiergate.Bucket{Limit: "exports", Scope: "team", Subject: "acme", Period: "tomorrow"}
	r.Holds = append(r.Holds, tiergate.Hold{Bucket: tomorrow, Kind: tiergate.Quota, Units: 1, Period: tiergate.Period{ID: "tomorrow", Start: Today.End}, Amount: 10, Rev: 1})
	_, err := s.Ledger.Reserve(s.Context(), r, time.Minute)
	s.notNow("a period that is to come", err, tiergate.NotNowError{Bucket: tomorrow, Now: s.now, OutOfPeriod: true})
	if x := s.says("h"); len(x.Recall) != 0 {
		s.Errorf("recalled %v", x.Recall)
	}
	s.same("the bucket", Counted{Leased: 8, Reserved: 2}, s.part())
	r.Holds[1].Period = Today
	_, err = s.Ledger.Reserve(s.Context(), r, time.Minute)
	code(s, "when it has come", err, tiergate.Exhausted)
	s.wait(13 * time.Hour)
	if _, err := s.Ledger.Reserve(s.Context(), booking("before", 2), time.Minute); err != nil {
		s.Errorf("what was reserved before: %v", err)
	}
}

// notNow compares an error with what it should say.
func (s *story) notNow(what string, err error, want tiergate.NotNowError) {
	s.Helper()
	got, ok := errors.AsType[*tiergate.NotNowError](err)
	if !ok {
		s.Errorf("%s: %v, want %v", what, err, &want)
		return
	}
	s.same(what, want, *got)
	code(s, what, err, tiergate.Unavailable)
}

// A slot is held and never used up.
func slots(s *story) {
	job := func(id string) tiergate.Reservation {
		r := booking(id, 1)
		r.Holds[0] = tiergate.Hold{Bucket: tiergate.Bucket{Limit: "jobs", Scope: "team", Subject: "acme"}, Kind: tiergate.Concurrency, Units: 1, Amount: 1, Rev: 1}
		return r
	}
	s.reserves(job("a"))
	_, err := s.Ledger.Reserve(s.Context(), job("b"), time.Minute)
	code(s, "a second one", err, tiergate.Exhausted)
	if _, err := s.Ledger.Commit(s.Context(), "a", "acme", 1, false); err != nil {
		s.Fatal(err)
	}
	s.reserves(job("b"))
}

// A gauge is a set: adding what is there and removing what is not change nothing, a lowered
// limit blocks only adding, and a replacement is what it says.
func seats(s *story) {
	b := tiergate.Bucket{Limit: "seats", Scope: "team", Subject: "acme"}
	for _, step := range []struct {
		item         string
		amount, held int64
		code         tiergate.Code
	}{
		{"alice", 2, 1, ""}, {"alice", 2, 1, ""}, {"bob", 2, 2, ""}, {"carol", 2, 2, tiergate.Exhausted}, {"bob", 1, 2, ""}, {"carol", 3, 3, ""},
	} {
		held, err := s.Ledger.Add(s.Context(), b, step.item, step.amount, 1)
		code(s, step.item, err, step.code)
		if held != step.held {
			s.Errorf("with %s it holds %d, want %d", step.item, held, step.held)
		}
	}
	for _, want := range []int64{2, 2} {
		if held, err := s.Ledger.Remove(s.Context(), b, "bob"); err != nil || held != want {
			s.Errorf("without bob it holds %d, %v", held, err)
		}
	}
	added, removed, err := s.Ledger.Replace(s.Context(), b, []string{"alice", "dave", "erin", "dave"})
	if err != nil || added != 2 || removed != 1 {
		s.Errorf("replaced: %d added, %d removed, %v", added, removed, err)
	}
	if added, removed, err := s.Ledger.Replace(s.Context(), b, nil); err != nil || added != 0 || removed != 3 {
		s.Errorf("emptied: %d added, %d removed, %v", added, removed, err)
	}
}
