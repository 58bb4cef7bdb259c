package quota

import (
	"context"
	"errors"
	"testing"

	"github.com/tiergate/tiergate"
)

// What the explorer has found, each as the shortest way to it.

var foundBucket = tiergate.Bucket{Limit: "calls", Scope: "team", Subject: "t"}

func foundAsk(amount, rev, need int64) tiergate.LeaseAsk {
	return tiergate.LeaseAsk{Bucket: foundBucket, Amount: amount, Rev: rev, Need: need, Least: need, Want: need}
}

// A process is killed before its first message arrives, and is retired. When the message
// arrives after all, it must get nothing: nobody would ever give that back.
func TestMemory_first_message_of_a_retired_holder_gets_nothing(t *testing.T) {
	var m Memory
	ctx := context.Background()
	if err := m.Retire(ctx, tiergate.Retirement{Holder: "gone", Token: "1", Log: "log"}); err != nil {
		t.Fatal(err)
	}
	ask := foundAsk(5, 1, 2)
	ask.Fence = 1
	if _, err := m.Exchange(ctx, tiergate.Exchange{Holder: "gone", Token: "1", Asks: []tiergate.LeaseAsk{ask}}); !errors.Is(err, tiergate.ErrFenced) {
		t.Errorf("the late message is answered with %v, want that it is fenced", err)
	}
}

// The answer to a message is lost that was granted units under a limit that is lowered since.
// The next message must not make them units of the lower limit.
func TestHolding_unheard_grant_of_a_higher_limit_is_given_back(t *testing.T) {
	var m Memory
	var h holding
	exchange := func(previous, token string, amount, rev int64) {
		ask := h.ask(foundAsk(amount, rev, 2))
		got, err := m.Exchange(context.Background(), tiergate.Exchange{Holder: "h", Previous: previous, Token: token, Asks: []tiergate.LeaseAsk{ask}})
		if err != nil {
			t.Fatal(err)
		}
		if rev == 2 { // the other answer is lost
			h.heed(&ask, &got.Answers[0])
		}
	}
	exchange("", "1", 3, 1)
	exchange("", "1", 1, 2)
	if h.spend(2, 1) {
		t.Error("two units are spent of a limit of one")
	}
	if b := m.buckets[foundBucket]; b.leased > 1 {
		t.Errorf("%d are leased of a limit of one", b.leased)
	}
}

// A ledger that has lost its newest history gets usage of a lease that it does not know, and
// then hears of the lease. What is used must not be set aside as well.
func TestMemory_usage_that_arrives_before_its_lease_is_not_set_aside_again(t *testing.T) {
	var m Memory
	ctx := context.Background()
	batch := tiergate.UsageBatch{Log: "log", To: 1, After: "1", Usage: []tiergate.Usage{{Units: 2, Events: 1, Spends: []tiergate.Spend{{Bucket: foundBucket, Holder: "h", Units: 2}}}}}
	if _, err := m.Upload(ctx, batch); err != nil {
		t.Fatal(err)
	}
	ask := foundAsk(5, 1, 0)
	ask.Fence, ask.Granted, ask.Spent, ask.Want = 1, 3, 2, 1
	if _, err := m.Exchange(ctx, tiergate.Exchange{Holder: "h", Token: "1", Asks: []tiergate.LeaseAsk{ask}}); err != nil {
		t.Fatal(err)
	}
	if b := m.buckets[foundBucket]; b.used != 2 || b.leased != 1 {
		t.Errorf("used %d and leased %d of three granted units, two of them used", b.used, b.leased)
	}
}

// A machine is copied with a process that holds a unit, and both use it. When the process then
// takes its lease up anew, what the copy has used must not be granted to it: it was never
// debited.
func TestMemory_what_a_copy_has_used_is_not_granted_again(t *testing.T) {
	var m Memory
	ctx := context.Background()
	exchange := func(holder, previous, token string, ask tiergate.LeaseAsk) tiergate.LeaseAnswer {
		got, err := m.Exchange(ctx, tiergate.Exchange{Holder: holder, Previous: previous, Token: token, Asks: []tiergate.LeaseAsk{ask}})
		if err != nil {
			t.Fatal(err)
		}
		return got.Answers[0]
	}
	ask := foundAsk(2, 1, 1)
	ask.Fence = 1
	exchange("h", "", "1", ask)
	exchange("other", "", "1", ask)
	for _, log := range []string{"log", "the copy's log"} {
		batch := tiergate.UsageBatch{Log: log, To: 1, After: "1", Usage: []tiergate.Usage{{Units: 1, Events: 1, Spends: []tiergate.Spend{{Bucket: foundBucket, Holder: "h", Units: 1}}}}}
		if _, err := m.Upload(ctx, batch); err != nil {
			t.Fatal(err)
		}
	}
	ask.Fence, ask.Granted, ask.Spent = 2, 1, 1
	if a := exchange("h", "1", "2", ask); a.Granted != 1 {
		t.Errorf("the holder has spent one unit and is granted %d, of a limit that is used up", a.Granted)
	}
}
