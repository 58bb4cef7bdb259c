package flagsync

import (
	"context"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/tiergate/tiergate"
	syncv1 "github.com/tiergate/tiergate/internal/wire/flagd/sync/v1"
	"github.com/tiergate/tiergate/server/rpc"
)

// busy is an Exporter with one document, and a new state each millisecond.
type busy struct {
	tiergate.Exporter
	began   time.Time
	differs bool // in the flags, and not in users alone
	looks   atomic.Int64
	exports atomic.Int64
}

func (b *busy) Since(from tiergate.Resume, _ tiergate.Audience) (tiergate.Difference, <-chan struct{}) {
	b.looks.Add(1)
	more := make(chan struct{})
	time.AfterFunc(time.Millisecond, func() { close(more) })
	d := tiergate.Difference{To: tiergate.Resume{Epoch: "e", Rev: 1 + time.Since(b.began).Milliseconds()}, Subject: true}
	d.All = b.differs || from == (tiergate.Resume{})
	return d, more
}

func (b *busy) Export(string) (*tiergate.FlagDocument, error) {
	b.exports.Add(1)
	return &tiergate.FlagDocument{JSON: "the flags"}, nil
}

// plain is a stream that takes everything.
type plain struct {
	grpc.ServerStream
	ctx context.Context
}

func (p *plain) Context() context.Context             { return p.ctx }
func (p *plain) Send(*syncv1.SyncFlagsResponse) error { return nil }
func (p *plain) SendMsg(any) error                    { return nil }
func (p *plain) SetHeader(metadata.MD) error          { return nil }

// Many revisions cost a stream ten looks a second, and a document only where flags differ.
func TestSyncFlags_looks_at_many_changes_together(t *testing.T) {
	for _, differs := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := &busy{began: time.Now(), differs: differs}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_ = (&service{exporter: b}).SyncFlags(&syncv1.SyncFlagsRequest{}, &plain{ctx: ctx})
			looks, exports := b.looks.Load(), b.exports.Load()
			if looks < 90 || looks > 101 {
				t.Errorf("it has looked %d times in ten seconds", looks)
			}
			if want := map[bool]int64{false: 1, true: looks}[differs]; exports != want {
				t.Errorf("flags differ: %v; it has asked for %d documents, want %d", differs, exports, want)
			}
		})
	}
}

// pipes are a listener in memory, whose time is synctest's.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, open := <-p; open {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error {
	close(p)
	return nil
}

func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// A key is looked at when it expires and every twenty seconds after that, also where it has been
// extended and while there is always something new.
func TestSyncFlags_looks_at_its_key_in_time(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var looks []time.Duration
		s := rpc.New(rpc.Config{}, New(Config{Exporter: &busy{began: began}, Credential: func(string) (*tiergate.Key, error) {
			looks = append(looks, time.Since(began).Truncate(time.Second))
			switch len(looks) {
			case 1:
				return &tiergate.Key{ExpiresAt: began.Add(7 * time.Second)}, nil
			case 2, 3:
				return &tiergate.Key{ExpiresAt: began.Add(33 * time.Second)}, nil
			}
			return &tiergate.Key{}, nil
		}}))
		ctx, stop := context.WithCancel(t.Context())
		ln, done := make(pipes), make(chan error)
		go func() { done <- s.Serve(ctx, ln, time.Second) }()
		conn, err := grpc.NewClient("passthrough:memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				ln <- theirs
				return ours, nil
			}))
		if err != nil {
			t.Fatal(err)
		}
		stream, err := syncv1.NewFlagSyncServiceClient(conn).SyncFlags(metadata.AppendToOutgoingContext(t.Context(), "x-api-key", "k"), &syncv1.SyncFlagsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := []time.Duration{0, 7 * time.Second, 27 * time.Second, 33 * time.Second, 53 * time.Second}; !slices.Equal(looks, want) {
			t.Errorf("the key is looked at after %v, want %v", looks, want)
		}
		_ = conn.Close()
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}
