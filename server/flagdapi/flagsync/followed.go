package flagsync

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	"github.com/tiergate/tiergate"
	syncv1 "github.com/tiergate/tiergate/internal/wire/flagd/sync/v1"
)

// followed are the sets that somebody follows. The zero value is ready.
type followed struct {
	mu   sync.Mutex
	sets map[string]*followedSet
}

// A followedSet is the newest document of a set as it is sent to all who follow it.
type followedSet struct {
	followers int // guarded by followed.mu

	mu       sync.Mutex
	doc      *tiergate.FlagDocument
	message  *syncv1.SyncFlagsResponse
	prepared *grpc.PreparedMsg // its bytes, which no stream changes; nil before somebody needed them
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
	return s
}

// leave forgets the document with its last follower.
func (f *followed) leave(set string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sets[set]
	if s.followers--; s.followers == 0 {
		delete(f.sets, set)
	}
}

// send sends a document. It waits for a slow client, and keeps no other one waiting.
func (s *followedSet) send(to grpc.ServerStreamingServer[syncv1.SyncFlagsResponse], doc *tiergate.FlagDocument) error {
	message, prepared := s.encoded(to, doc)
	if prepared != nil {
		return to.SendMsg(prepared)
	}
	return to.Send(message)
}

// encoded returns a document as a message and, for streams that can take them, as its bytes.
func (s *followedSet) encoded(to grpc.ServerStream, doc *tiergate.FlagDocument) (*syncv1.SyncFlagsResponse, *grpc.PreparedMsg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doc != doc {
		s.doc, s.message, s.prepared = doc, &syncv1.SyncFlagsResponse{FlagConfiguration: doc.JSON}, nil
	}
	if !takesBytes(to.Context()) {
		return s.message, nil
	}
	if s.prepared == nil {
		prepared := &grpc.PreparedMsg{}
		if prepared.Encode(to, s.message) != nil {
			return s.message, nil
		}
		s.prepared = prepared
	}
	return s.message, s.prepared
}

// takesBytes says whether a stream is one of gRPC itself and compresses nothing: such streams
// all send the same bytes.
func takesBytes(ctx context.Context) bool {
	native, ok := grpc.ServerTransportStreamFromContext(ctx).(interface{ SendCompress() string })
	return ok && native.SendCompress() == ""
}
