package ledgertest

import (
	"errors"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota"
)

// Run tells every rule as an example.
func Run(t *testing.T, w World) {
	for name, rule := range map[string]func(*story){
		"a message that is sent again": sentAgain, "a late message": late, "a message under an old fence": oldFence,
		"a clone": clone, "what a copy has used": copyUsed, "an unknown holder": unknownHolder, "bad messages": badMessages,
		"what is needed and no more when it is scarce": scarce, "less than the least": least, "a share of plenty": plenty,
		"a limit that is lowered and raised": lowered, "an older revision": olderRevision, "another period": outOfPeriod,
		"recall": recall, "a silent holder": silent, "giving back": sealed, "retiring": retired, "retiring too early": retiredTooEarly,
		"retiring an unknown holder": retiredUnknown, "a failover": failover,
		"a batch that is sent again": uploadedAgain, "a batch that does not fit": gap, "a log that lost a part": lostPart,
		"usage before its lease": usageFirst, "usage without a lease": tracked, "the same event twice": duplicate, "a key for something else": reusedKey,
		"sums that would turn over": overflow, "rates": rates,
	} {
		t.Run(name, func(t *testing.T) { rule(tell(t, w)) })
	}
	runReservations(t, w)
}

// The answer to a message was lost: sending it again changes nothing, and says the same.
func sentAgain(s *story) {
	x := tiergate.Exchange{Holder: "h", Token: s.token(), Asks: []tiergate.LeaseAsk{want(10, 0, 0, 4)}}
	first := s.sends(x)
	s.same("the second answer", first, s.sends(x))
	s.same("the bucket", Counted{Leased: 4}, s.part())
	if first.TTL != quota.TTL {
		s.Errorf("the TTL is %v, want %v", first.TTL, quota.TTL)
	}
}

// A message that arrives after a newer one is refused and changes nothing, also when it is
// the holder's first.
func late(s *story) {
	first := tiergate.Exchange{Holder: "h", Token: s.token(), Asks: []tiergate.LeaseAsk{want(10, 0, 0, 4)}}
	s.sends(first)
	second := tiergate.Exchange{Holder: "h", Previous: first.Token, Token: s.token(), Asks: []tiergate.LeaseAsk{want(10, 4, 1, 4)}}
	s.sends(second)
	s.asks("h", want(10, 5, 1, 4))
	for _, x := range []tiergate.Exchange{first, second} {
		if _, err := s.Ledger.Exchange(s.Context(), x); !errors.Is(err, tiergate.ErrFenced) {
			s.Errorf("a late message: %v, want ErrFenced", err)
		}
	}
	s.same("the bucket", Counted{Leased: 5}, s.part())
}

// A lease that was given back and taken up again has a larger fence: what is said under the
// old one grants nothing and gives nothing back.
func oldFence(s *story) {
	s.asks("h", want(10, 0, 0, 4))
	ask := want(10, 4, 3, 0)
	ask.Seal = true
	s.same("giving back", tiergate.LeaseAnswer{State: tiergate.LeaseSealed, Granted: 3, Available: 7}, s.asks("h", ask))
	ask = want(10, 3, 3, 2)
	ask.Fence = 2
	s.same("taken up again", tiergate.LeaseAnswer{State: tiergate.LeaseActive, Granted: 5, Available: 5}, s.asks("h", ask))
	ask = want(10, 4, 4, 4)
	ask.Seal = true
	s.same("the old fence", tiergate.LeaseAnswer{State: tiergate.LeaseSealed, Granted: 5, Available: 5}, s.asks("h", ask))
}

// Of two processes that go on from the same place, the one that speaks first stays; the
// other is fenced for ever.
func clone(s *story) {
	s.asks("h", want(10, 0, 0, 4))
	known := s.tokens["h"]
	s.asks("h", want(10, 4, 1, 4))
	for range 2 {
		_, err := s.Ledger.Exchange(s.Context(), tiergate.Exchange{Holder: "h", Previous: known, Token: s.token(), Asks: []tiergate.LeaseAsk{want(10, 4, 4, 4)}})
		if !errors.Is(err, tiergate.ErrFenced) {
			s.Errorf("a clone: %v, want ErrFenced", err)
		}
	}
	s.asks("h", want(10, 5, 2, 4))
	s.same("the bucket", Counted{Leased: 6}, s.part())
}

// What a copy of a holder has used is not granted to the holder when it takes its lease up anew.
func copyUsed(s *story) {
	s.counts("log", 0, used("h", 3))
	ask := want(10, 1, 1, 1)
	ask.Fence = 2
	s.same("the answer", tiergate.LeaseAnswer{State: tiergate.LeaseActive, Granted: 2, Available: 7}, s.asks("h", ask))
}

// A holder that says it has spoken before, and of which nothing is known, is none.
func unknownHolder(s *story) {
	_, err := s.Ledger.Exchange(s.Context(), tiergate.Exchange{Holder: "ghost", Previous: "t", Token: "u"})
	if !errors.Is(err, tiergate.ErrFenced) {
		s.Errorf("an unknown holder: %v, want ErrFenced", err)
	}
}

// What no ledger takes is Invalid and changes nothing.
func badMessages(s *story) {
	twice := tiergate.Exchange{Holder: "h", Token: "t", Asks: []tiergate.LeaseAsk{want(10, 0, 0, 1), want(10, 0, 0, 1)}}
	negative := tiergate.Exchange{Holder: "h", Token: "t", Asks: []tiergate.LeaseAsk{want(10, 0, 0, -1)}}
	absurd := tiergate.Exchange{Holder: "h", Token: "t", Asks: []tiergate.LeaseAsk{want(1<<61, 0, 0, 1)}}
	nameless := tiergate.Exchange{Token: "t"}
	rate := tiergate.RateAsk{Bucket: exports}
	rates := tiergate.Exchange{Holder: "h", Token: "t", Rates: []tiergate.RateAsk{rate, rate}}
	for what, x := range map[string]tiergate.Exchange{"twice": twice, "negative": negative, "absurd": absurd, "nameless": nameless, "rates": rates} {
		_, err := s.Ledger.Exchange(s.Context(), x)
		code(s, what, err, tiergate.Invalid)
	}
	back := batch("log", 100)
	back.To = 50
	_, err := s.Ledger.Upload(s.Context(), back)
	code(s, "a batch that goes back", err, tiergate.Invalid)
	empty := batch("log", 0, used("", 1))
	empty.To = 0
	_, err = s.Ledger.Upload(s.Context(), empty)
	code(s, "usage in no place", err, tiergate.Invalid)
	s.same("the bucket", Counted{}, s.part())
}

// When there is less than everybody needs, callers get what there is and not a unit more.
func scarce(s *story) {
	if a := s.asks("h1", want(10, 0, 0, 7)); a.Granted != 7 {
		s.Errorf("h1 got %d, want 7", a.Granted)
	}
	s.same("h2 gets the rest", tiergate.LeaseAnswer{State: tiergate.LeaseActive, Granted: 3, Outstanding: 7}, s.asks("h2", want(10, 0, 0, 7)))
	s.same("h3 gets nothing", tiergate.LeaseAnswer{State: tiergate.LeaseActive, Outstanding: 10}, s.asks("h3", want(10, 0, 0, 1)))
}

// Units that would serve not even the smallest caller are not granted.
func least(s *story) {
	s.asks("h1", want(10, 0, 0, 8))
	ask := want(10, 0, 0, 6)
	ask.Least = 3
	s.same("too little", tiergate.LeaseAnswer{State: tiergate.LeaseActive, Available: 2, Outstanding: 8}, s.asks("h2", ask))
	ask.Least = 2
	s.same("just enough", tiergate.LeaseAnswer{State: tiergate.LeaseActive, Granted: 2, Outstanding: 8}, s.asks("h2", ask))
}

// Beyond its need a holder gets at most half of an equal share of what would be left.
func plenty(s *story) {
	ask := want(100, 0, 0, 10)
	ask.Want = 1000
	for i, granted := range []int64{10 + 45, 10 + 8, 10 + 2} { // (100-10)/2, (45-10)/4, (27-10)/6
		holder := []string{"h1", "h2", "h3"}[i]
		if a := s.asks(holder, ask); a.Granted != granted {
			s.Errorf("%s got %d, want %d", holder, a.Granted, granted)
		}
	}
	ask = want(100, 0, 0, 1)
	ask.Want = 2
	if a := s.asks("h4", ask); a.Granted != 2 {
		s.Errorf("h4 got %d, want the 2 that it would like", a.Granted)
	}
}

// A limit that is lowered below what was granted grants nothing until it is raised again.
func lowered(s *story) {
	s.asks("h", want(10, 0, 0, 8))
	ask := want(5, 8, 2, 8)
	ask.Rev = 2
	s.same("lowered", tiergate.LeaseAnswer{State: tiergate.LeaseActive, Granted: 8, Available: -3}, s.asks("h", ask))
	ask.Amount, ask.Rev = 12, 3
	s.same("raised", tiergate.LeaseAnswer{State: tiergate.LeaseActive, Granted: 10, Available: 2}, s.asks("h", ask))
}

// Who knows an older revision gets no more than the smaller of both amounts, and does not
// bring the older one back.
func olderRevision(s *story) {
	ask := want(5, 0, 0, 1)
	ask.Rev = 2
	s.asks("new", ask)
	if a := s.asks("old", want(10, 0, 0, 9)); a.Granted != 4 {
		s.Errorf("the old one got %d, want 4", a.Granted)
	}
	ask.Amount, ask.Rev = 20, 3
	s.asks("new", ask)
	if a := s.asks("other", want(10, 0, 0, 9)); a.Granted != 5 {
		s.Errorf("the other old one got %d, want 10-1-4", a.Granted)
	}
}

// Outside of its period a bucket grants nothing, however a holder's clock goes; what is held
// can be given back at any time.
func outOfPeriod(s *story) {
	s.asks("h", want(10, 0, 0, 4))
	s.wait(12*time.Hour - time.Second)
	if a := s.asks("h", want(10, 4, 4, 1)); a.OutOfPeriod || a.Granted != 5 {
		s.Errorf("in the last second: %+v", a)
	}
	s.wait(time.Second)
	if a := s.asks("h", want(10, 5, 5, 1)); !a.OutOfPeriod || a.Granted != 5 {
		s.Errorf("in the first second of the next: %+v", a)
	}
	ask := want(10, 5, 5, 0)
	ask.Seal = true
	if a := s.asks("h", ask); a.State != tiergate.LeaseSealed || a.Available != 5 {
		s.Errorf("giving back: %+v", a)
	}
	tomorrow := tiergate.LeaseAsk{Bucket: exports, Period: tiergate.Period{ID: "x", Start: Today.End.Add(time.Hour)}, Amount: 10, Rev: 1, Fence: 2, Granted: 5, Spent: 5, Need: 1}
	if a := s.asks("h", tomorrow); !a.OutOfPeriod || a.Granted != 5 {
		s.Errorf("before it begins: %+v", a)
	}
}

// When somebody gets too little, those who hold something are asked for it, for a while.
func recall(s *story) {
	s.asks("h1", want(10, 0, 0, 10))
	if x := s.says("h1"); len(x.Recall) != 0 {
		s.Errorf("recalled %v while nobody lacks anything", x.Recall)
	}
	s.asks("h2", want(10, 0, 0, 1))
	s.same("the recall", []tiergate.Bucket{exports}, s.says("h1").Recall)
	s.wait(quota.RecallFor - time.Millisecond)
	s.same("the recall", []tiergate.Bucket{exports}, s.says("h1").Recall)
	s.wait(time.Millisecond)
	if x := s.says("h1"); len(x.Recall) != 0 || x.Holders != 2 {
		s.Errorf("%d holders, recalled %v after a while", x.Holders, x.Recall)
	}
}

// What a silent holder has is set apart, never given to others, and its own again when it speaks.
func silent(s *story) {
	s.asks("h1", want(10, 0, 0, 6))
	s.wait(quota.TTL + quota.Grace)
	s.says("h2")
	s.same("not silent for long enough", Counted{Leased: 6}, s.part())
	s.wait(time.Millisecond)
	if x := s.says("h2"); x.Holders != 1 {
		s.Errorf("%d holders are alive, want 1", x.Holders)
	}
	s.same("silent", Counted{Forfeited: 6}, s.part())
	if a := s.asks("h2", want(10, 0, 0, 10)); a.Granted != 4 || a.Outstanding != 0 {
		s.Errorf("the other one got %+v, want the 4 that are left", a)
	}
	s.counts("log", 0, used("h1", 2))
	s.same("its usage arrives", Counted{Used: 2, Leased: 4, Forfeited: 4}, s.part())
	if a := s.asks("h1", want(10, 6, 3, 0)); a.State != tiergate.LeaseActive || a.Granted != 6 {
		s.Errorf("it is back: %+v", a)
	}
	s.same("it is back", Counted{Used: 2, Leased: 8}, s.part())
}

// What was spent stays set aside after giving back, until its usage arrives.
func sealed(s *story) {
	s.asks("h", want(10, 0, 0, 6))
	ask := want(10, 6, 2, 0)
	ask.Seal = true
	s.asks("h", ask)
	s.same("given back", Counted{Leased: 2}, s.part())
	s.counts("log", 0, used("h", 2))
	s.same("counted", Counted{Used: 2}, s.part())
}

// A process is gone, and all of its usage is counted: what it did not use is free again, and
// nobody speaks in its name any more.
func retired(s *story) {
	s.asks("h", want(10, 0, 0, 6))
	s.counts("log", 0, used("h", 2))
	r := tiergate.Retirement{Holder: "h", Previous: s.tokens["h"], Token: s.token(), Log: "log", At: 100}
	for range 2 {
		if err := s.Ledger.Retire(s.Context(), r); err != nil {
			s.Fatal(err)
		}
	}
	s.same("the bucket", Counted{Used: 2}, s.part())
	_, err := s.Ledger.Exchange(s.Context(), tiergate.Exchange{Holder: "h", Previous: r.Token, Token: s.token()})
	if !errors.Is(err, tiergate.ErrFenced) {
		s.Errorf("a retired holder speaks: %v, want ErrFenced", err)
	}
	s.counts("log", 100, used("h", 1))
	s.same("more usage", Counted{Used: 3}, s.part())
}

// A log that is not counted to its end, or a token that is not the newest, retires nobody.
func retiredTooEarly(s *story) {
	s.asks("h", want(10, 0, 0, 6))
	s.counts("log", 0, used("h", 2))
	err := s.Ledger.Retire(s.Context(), tiergate.Retirement{Holder: "h", Previous: s.tokens["h"], Token: s.token(), Log: "log", At: 101})
	code(s, "too early", err, tiergate.Conflict)
	err = s.Ledger.Retire(s.Context(), tiergate.Retirement{Holder: "h", Previous: "other", Token: s.token(), Log: "log", At: 100})
	if !errors.Is(err, tiergate.ErrFenced) {
		s.Errorf("with another token: %v, want ErrFenced", err)
	}
	s.same("the bucket", Counted{Used: 2, Leased: 4}, s.part())
}

// A holder that never got through is retired all the same: its first message may be under way.
func retiredUnknown(s *story) {
	if err := s.Ledger.Retire(s.Context(), tiergate.Retirement{Holder: "h", Token: s.token(), Log: "log"}); err != nil {
		s.Fatal(err)
	}
	_, err := s.Ledger.Exchange(s.Context(), tiergate.Exchange{Holder: "h", Token: s.token(), Asks: []tiergate.LeaseAsk{want(10, 0, 0, 6)}})
	if !errors.Is(err, tiergate.ErrFenced) {
		s.Errorf("its first message: %v, want ErrFenced", err)
	}
}

// Another server takes over, which may have missed the newest: until every holder has said
// what it holds, nothing is granted, to leases or to reservations.
func failover(s *story) {
	s.asks("known", want(10, 0, 0, 3))
	if _, err := s.Ledger.Reserve(s.Context(), booking("before", 1), time.Hour); err != nil {
		s.Fatal(err)
	}
	s.Failover()
	s.tokens["known"], s.tokens["lost"] = "of a message that was lost", "of a holder that was lost"
	if a := s.asks("known", want(10, 4, 1, 6)); !a.Learning || a.Granted != 4 || a.State != tiergate.LeaseActive {
		s.Errorf("a grant that was lost: %+v", a)
	}
	ask := want(10, 5, 5, 6)
	ask.Fence = 7
	if a := s.asks("lost", ask); !a.Learning || a.Granted != 5 {
		s.Errorf("a holder that was lost: %+v", a)
	}
	_, err := s.Ledger.Reserve(s.Context(), booking("after", 0), time.Hour)
	s.notNow("a reservation", err, tiergate.NotNowError{Bucket: exports, Now: s.now, Learning: true})
	_, err = s.Ledger.Commit(s.Context(), "before", "acme", 2, false)
	code(s, "more than was reserved", err, tiergate.Exhausted)
	s.wait(quota.TTL + quota.Grace)
	if a := s.asks("lost", ask); a.Learning || a.Granted != 5 || a.Available != 0 {
		s.Errorf("when it has learnt: %+v", a)
	}
	s.same("the bucket", Counted{Leased: 9, Reserved: 1}, s.part())
	_, err = s.Ledger.Reserve(s.Context(), booking("after", 1), time.Hour)
	code(s, "a reservation of what others hold", err, tiergate.Exhausted)
	_, err = s.Ledger.Exchange(s.Context(), tiergate.Exchange{Holder: "another", Previous: "x", Token: s.token()})
	if !errors.Is(err, tiergate.ErrFenced) {
		s.Errorf("a holder that comes later: %v, want ErrFenced", err)
	}
}

// A batch whose answer was lost is sent again, and counts once.
func uploadedAgain(s *story) {
	b := batch("log", 0, used("", 3))
	for range 3 {
		up, err := s.Ledger.Upload(s.Context(), b)
		if err != nil || up.At != 100 || up.Hash != b.After {
			s.Errorf("%+v, %v", up, err)
		}
	}
	s.same("the bucket", Counted{Used: 3}, s.part())
}

// A batch from another place, or of another history, counts nothing and is told where the log goes on.
func gap(s *story) {
	s.counts("log", 0, used("", 3))
	forked := batch("log", 100, used("", 1))
	forked.Before = "another"
	for what, b := range map[string]tiergate.UsageBatch{"a gap": batch("log", 200, used("", 1)), "before": batch("log", 50, used("", 1)), "a fork": forked} {
		up, err := s.Ledger.Upload(s.Context(), b)
		if err != nil || up.At != 100 || up.Hash != hashAt(100) {
			s.Errorf("%s: %+v, %v", what, up, err)
		}
	}
	up, err := s.Ledger.Upload(s.Context(), batch("unknown", 100, used("", 1)))
	if err != nil || up.At != 0 || up.Hash != "" {
		s.Errorf("an unknown log: %+v, %v", up, err)
	}
	s.same("the bucket", Counted{Used: 3}, s.part())
}

// A log whose middle is gone for good says so and goes on; it cannot go back by that.
func lostPart(s *story) {
	s.counts("log", 0, used("", 3))
	b := batch("log", 300, used("", 2))
	b.Lost, b.Before = true, "whatever"
	for range 2 {
		up, err := s.Ledger.Upload(s.Context(), b)
		if err != nil || up.At != 400 {
			s.Errorf("%+v, %v", up, err)
		}
	}
	back := batch("log", 100, used("", 1))
	back.Lost = true
	if up, err := s.Ledger.Upload(s.Context(), back); err != nil || up.At != 400 {
		s.Errorf("back: %+v, %v", up, err)
	}
	fresh := batch("fresh", 300, used("", 1))
	fresh.Lost = true
	if up, err := s.Ledger.Upload(s.Context(), fresh); err != nil || up.At != 400 {
		s.Errorf("a fresh log: %+v, %v", up, err)
	}
	s.same("the bucket", Counted{Used: 6}, s.part())
}

// Usage may reach the ledger before it has heard of the lease: it is not set aside as well.
func usageFirst(s *story) {
	s.counts("log", 0, used("h", 3))
	s.asks("h", want(10, 5, 4, 0))
	s.same("the bucket", Counted{Used: 3, Leased: 2}, s.part())
}

// What happened without a lease counts when it arrives, limit or no limit.
func tracked(s *story) {
	s.asks("h", want(10, 0, 0, 6))
	s.counts("log", 0, used("", 8))
	s.same("the bucket", Counted{Used: 8, Leased: 6}, s.part())
	if left := s.left(10); left != -4 {
		s.Errorf("%d are left, want -4", left)
	}
	if a := s.asks("h", want(10, 6, 6, 1)); a.Granted != 6 {
		s.Errorf("more was granted: %+v", a)
	}
}

// An event with a key that was counted already, on whichever holder and log, is credited back.
func duplicate(s *story) {
	s.asks("h1", want(10, 0, 0, 3))
	s.asks("h2", want(10, 0, 0, 3))
	s.counts("log", 0, keyed(used("h1", 2), "k", "f"))
	up := s.counts("other", 0, keyed(used("h2", 2), "k", "f"), keyed(used("h2", 1), "l", "f"), keyed(used("h2", 1), "l", "f"))
	if up.Duplicates != 2 || up.Reused != 0 {
		s.Errorf("%+v, want 2 duplicates", up)
	}
	s.same("the bucket", Counted{Used: 3, Leased: 1}, s.part())
}

// A key that was used for something else is counted, and reported; so are keys of other scopes.
func reusedKey(s *story) {
	other := keyed(used("", 1), "k", "f")
	other.Key.Scope = "globex"
	up := s.counts("log", 0, keyed(used("", 1), "k", "f"), keyed(used("", 1), "k", "g"), other)
	if up.Duplicates != 0 || up.Reused != 1 {
		s.Errorf("%+v, want one reused", up)
	}
	s.same("the bucket", Counted{Used: 3}, s.part())
}

// However much is tracked, a bucket never turns over and is free again. (What is kept then
// is less than what happened, so the story ends in an empty world.)
func overflow(s *story) {
	for i := range int64(3) {
		many := make([]tiergate.Usage, 500)
		for j := range many {
			many[j] = used("", tiergate.MaxAmount)
		}
		s.counts("log", 100*i, many...)
	}
	if left := s.left(10); left > -(1 << 61) {
		s.Errorf("%d are left", left)
	}
	s.Reset()
}

// Holders of one rate get equal parts, which are together never more than the whole: a new
// one waits until the others have made room, and those that are silent count for a while.
func rates(s *story) {
	bucket := tiergate.Bucket{Limit: "calls", Scope: "team", Subject: "acme"}
	share := func(holder string) int64 {
		x := tiergate.Exchange{Holder: holder, Previous: s.tokens[holder], Token: s.token(), Rates: []tiergate.RateAsk{{Bucket: bucket, Amount: 100, Rev: 1}}}
		return s.sends(x).Shares[0]
	}
	for _, step := range []struct {
		holder string
		share  int64
	}{
		{"a", 1_000_000}, {"b", 0}, {"a", 500_000}, {"b", 500_000}, {"c", 0}, {"a", 333_333}, {"b", 333_333}, {"c", 333_333}, {"a", 333_333},
	} {
		if got := share(step.holder); got != step.share {
			s.Errorf("%s gets %d, want %d", step.holder, got, step.share)
		}
	}
	s.wait(quota.TTL + quota.Grace)
	share("a")
	s.wait(time.Millisecond)
	if got := share("a"); got != 1_000_000 {
		s.Errorf("alone again it gets %d", got)
	}
}
