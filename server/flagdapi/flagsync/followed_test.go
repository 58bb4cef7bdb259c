package flagsync

import (
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip" // as another part of a program may bring it along

	"github.com/tiergate/tiergate"
	syncv1 "github.com/tiergate/tiergate/internal/wire/flagd/sync/v1"
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

// sender is a service that sends one document to whoever calls, and tells how.
type sender struct {
	syncv1.UnimplementedFlagSyncServiceServer
	set  followedSet
	doc  *tiergate.FlagDocument
	with chan *grpc.PreparedMsg
}

func (s *sender) SyncFlags(_ *syncv1.SyncFlagsRequest, to grpc.ServerStreamingServer[syncv1.SyncFlagsResponse]) error {
	_, prepared := s.set.encoded(to, s.doc)
	s.with <- prepared
	return s.set.send(to, s.doc)
}

// A document is encoded once for all streams that send the same bytes; one that compresses
// does not get them, and what it sends is right.
func TestFollowedSet_encodes_once(t *testing.T) {
	s := &sender{doc: &tiergate.FlagDocument{JSON: "the flags"}, with: make(chan *grpc.PreparedMsg, 1)}
	server := grpc.NewServer()
	syncv1.RegisterFlagSyncServiceServer(server, s)
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ask := func(options ...grpc.CallOption) *grpc.PreparedMsg {
		stream, err := syncv1.NewFlagSyncServiceClient(conn).SyncFlags(t.Context(), &syncv1.SyncFlagsRequest{}, options...)
		if err != nil {
			t.Fatal(err)
		}
		m, err := stream.Recv()
		if err != nil || m.FlagConfiguration != s.doc.JSON {
			t.Fatalf("received %v, %v", m, err)
		}
		return <-s.with
	}
	first := ask()
	if second := ask(); first == nil || first != second {
		t.Errorf("two streams have the bytes %p and %p", first, second)
	}
	if compressed := ask(grpc.UseCompressor(gzip.Name)); compressed != nil {
		t.Error("a stream that compresses has the bytes of one that does not")
	}
	if after := ask(); after != first {
		t.Error("the bytes were encoded anew")
	}
	s.doc = &tiergate.FlagDocument{JSON: "other flags"}
	if other := ask(); other == nil || other == first {
		t.Error("another document has the bytes of the one before")
	}
}
