package flagsync_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/tiergate/tiergate"
	syncv1 "github.com/tiergate/tiergate/internal/wire/flagd/sync/v1"
	"github.com/tiergate/tiergate/server/flagdapi/flagsync"
	"github.com/tiergate/tiergate/server/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is an Exporter whose documents a test sets.
type fake struct {
	mu   sync.Mutex
	docs map[string]*tiergate.FlagDocument
	err  error
	rev  int64
	more chan struct{}

	asked chan struct{} // has one for each of the first documents that were asked for
}

func newFake() *fake {
	return &fake{docs: map[string]*tiergate.FlagDocument{}, more: make(chan struct{}), asked: make(chan struct{}, 4)}
}

// change puts another state in force.
func (f *fake) change(edit func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit()
	f.rev++
	close(f.more)
	f.more = make(chan struct{})
}

func (f *fake) put(set, text string) {
	f.change(func() { f.docs[set] = &tiergate.FlagDocument{Set: set, JSON: text} })
}

func (f *fake) Generation() tiergate.Generation { return nil }

func (f *fake) Since(from tiergate.Resume, _ tiergate.Audience) (tiergate.Difference, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	to := tiergate.Resume{Epoch: "e", Rev: f.rev}
	return tiergate.Difference{To: to, All: from != to, Keys: from != to}, f.more
}

func (f *fake) Export(set string) (*tiergate.FlagDocument, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case f.asked <- struct{}{}:
	default:
	}
	if doc := f.docs[set]; doc != nil || f.err != nil {
		return doc, f.err
	}
	return &tiergate.FlagDocument{Set: set, JSON: "none of " + set}, nil
}

// serve serves the door on loopback until the test ends or stop is called.
func serve(tb testing.TB, cfg flagsync.Config) (addr string, stop func()) {
	tb.Helper()
	ln, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := rpc.New(rpc.Config{}, flagsync.New(cfg))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln, time.Second) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("Serve: %v", err)
		}
	})
	tb.Cleanup(stop)
	return ln.Addr().String(), stop
}

func client(tb testing.TB, addr string, options ...grpc.DialOption) syncv1.FlagSyncServiceClient {
	tb.Helper()
	conn, err := grpc.NewClient(addr, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return syncv1.NewFlagSyncServiceClient(conn)
}

// follow begins a stream with metadata, given as name and value in turns.
func follow(tb testing.TB, c syncv1.FlagSyncServiceClient, selector string, md ...string) grpc.ServerStreamingClient[syncv1.SyncFlagsResponse] {
	tb.Helper()
	stream, err := c.SyncFlags(sending(tb, md...), &syncv1.SyncFlagsRequest{ProviderId: "test", Selector: selector})
	if err != nil {
		tb.Fatal(err)
	}
	return stream
}

// sending is a context with metadata, and with an end, so that nothing waits for ever.
func sending(tb testing.TB, md ...string) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	tb.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, md...)
}

func next(tb testing.TB, stream grpc.ServerStreamingClient[syncv1.SyncFlagsResponse]) string {
	tb.Helper()
	m, err := stream.Recv()
	if err != nil {
		tb.Fatalf("Recv: %v", err)
	}
	return m.FlagConfiguration
}
