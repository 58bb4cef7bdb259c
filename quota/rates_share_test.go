package quota

import (
	"testing"
	"time"

	"github.com/tiergate/tiergate"
)

// A shared rate that nobody asks for any more gives its share back to the others; one that is
// in use does not.
func TestShares_that_are_idle_are_given_back(t *testing.T) {
	var s shares
	busy := Claim{Key: "busy", Scope: "team", Subject: "acme", Amount: 100}
	idle := busy
	idle.Key = "idle"
	s.of(&busy, 1, 7)
	s.of(&idle, 1, 7)
	now := int64(1)
	for range 60 { // a message a second, each of which is answered
		now += int64(time.Second)
		s.of(&busy, now, 7)
		asks := s.asks(now)
		given := make([]int64, len(asks))
		for i := range given {
			given[i] = 500_000
		}
		s.hear(asks, given, now+int64(TTL))
	}
	if asks := s.asks(now); len(asks) != 1 || asks[0].Bucket != (tiergate.Bucket{Limit: "busy", Scope: "team", Subject: "acme"}) {
		t.Errorf("asked for are %+v", asks)
	}
	if millionths, _ := s.of(&busy, now, 7); millionths != 500_000 {
		t.Errorf("the busy one has a share of %d", millionths)
	}
}
