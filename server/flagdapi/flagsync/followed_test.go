package flagsync

import (
	"testing"

	"github.com/tiergate/tiergate"
)

// The document of a set is kept for as long as somebody follows it.
func TestFollowed_forgets_with_the_last_follower(t *testing.T) {
	var f followed
	a, b := f.enter("web"), f.enter("web")
	if a != b {
		t.Fatal("two followers of one set do not share its document")
	}
	f.leave("web")
	if len(f.sets) != 1 {
		t.Error("it was forgotten while somebody followed it")
	}
	if f.leave("web"); len(f.sets) != 0 {
		t.Error("it was kept when nobody followed it any more")
	}
}

// All who follow a set are sent one message of a document, and another one of the next.
func TestFollowedSet_shares_its_message(t *testing.T) {
	var s followedSet
	one, other := &tiergate.FlagDocument{JSON: "the flags"}, &tiergate.FlagDocument{JSON: "other flags"}
	first := s.messageOf(one)
	if s.messageOf(one) != first {
		t.Error("two streams do not share the message of a document")
	}
	if s.messageOf(other) == first {
		t.Error("another document has the message of the one before")
	}
}
