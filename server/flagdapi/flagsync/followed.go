package flagsync

import (
	"sync"

	"google.golang.org/grpc"

	"github.com/tiergate/tiergate"
	syncv1 "github.com/tiergate/tiergate/internal/wire/flagd/sync/v1"
	"github.com/tiergate/tiergate/server/rpc"
)

// followed are the sets that somebody follows. The zero value is ready.
type followed struct {
	mu   sync.Mutex
	sets map[string]*followedSet
	all  int // followers
}

// A followedSet is the newest document of a set as it is sent to all who follow it.
type followedSet struct {
	followers int // guarded by followed.mu

	mu      sync.Mutex
	doc     *tiergate.FlagDocument
	message *rpc.Broadcast
}

func (f *followed) enter(set string) *followedSet {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sets == nil {
		f.sets = map[string]*followedSet{}
	}
	s := f.sets[set]
	if s == nil {
		s = &followedSet{}
		f.sets[set] = s
	}
	s.followers++
	f.all++
	return s
}

// leave forgets the document with its last follower.
func (f *followed) leave(set string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all--
	s := f.sets[set]
	if s.followers--; s.followers == 0 {
		delete(f.sets, set)
	}
}

// count returns how many followers there are.
func (f *followed) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all
}

// send sends a document. It waits for a slow client, and keeps no other one waiting.
func (s *followedSet) send(to grpc.ServerStream, doc *tiergate.FlagDocument) error {
	return s.messageOf(doc).Send(to)
}

func (s *followedSet) messageOf(doc *tiergate.FlagDocument) *rpc.Broadcast {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doc != doc {
		s.doc, s.message = doc, rpc.NewBroadcast(&syncv1.SyncFlagsResponse{FlagConfiguration: doc.JSON})
	}
	return s.message
}
