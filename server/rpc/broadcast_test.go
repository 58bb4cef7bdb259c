package rpc

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip" // as another part of a program may bring it along
	"google.golang.org/grpc/status"

	"github.com/tiergate/tiergate"
	wire "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
)

// herald is a service whose stream is what a test makes of it.
type herald struct {
	wire.UnimplementedServiceServer
	run func(to grpc.ServerStream) error
}

func (h *herald) EventStream(_ *wire.EventStreamRequest, to grpc.ServerStreamingServer[wire.EventStreamResponse]) error {
	return h.run(to)
}

// heraldClient serves a herald with grpc-go alone, in memory, and returns a client.
func heraldClient(t *testing.T, h *herald) wire.ServiceClient {
	t.Helper()
	s, ln := grpc.NewServer(), newHandoff(&net.UnixAddr{Name: "memory", Net: "unix"})
	wire.RegisterServiceServer(s, h)
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			ln.hand(theirs)
			return ours, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return wire.NewServiceClient(conn)
}

// A message is encoded once for all streams that send the same bytes; one that compresses does
// not get them, and what it sends is right.
func TestBroadcast_is_encoded_once(t *testing.T) {
	b := NewBroadcast(&wire.EventStreamResponse{Type: "news"})
	sent := make(chan any, 1)
	c := heraldClient(t, &herald{run: func(to grpc.ServerStream) error { return b.Send(&spy{ServerStream: to, sent: sent}) }})
	ask := func(options ...grpc.CallOption) any {
		stream, err := c.EventStream(t.Context(), &wire.EventStreamRequest{}, options...)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := stream.Recv(); err != nil || m.Type != "news" {
			t.Fatalf("received %v, %v", m, err)
		}
		return <-sent
	}
	first := ask()
	if _, encoded := first.(*grpc.PreparedMsg); !encoded || ask() != first {
		t.Errorf("two streams do not send the same bytes: %T", first)
	}
	if compressed := ask(grpc.UseCompressor(gzip.Name)); compressed == first {
		t.Error("a stream that compresses has the bytes of one that does not")
	}
	if ask() != first {
		t.Error("the bytes were encoded anew")
	}
}

// Over Connect, too, a message is encoded once for all streams, in each of its two ways.
func TestBroadcast_is_encoded_once_for_Connect(t *testing.T) {
	news := &wire.EventStreamResponse{Type: "news"}
	b := NewBroadcast(news)
	for _, c := range []codec{{"proto", false}, {"json", true}} {
		want, err := c.Marshal(&message{value: news})
		if err != nil {
			t.Fatal(err)
		}
		first, err := c.Marshal(&message{value: b})
		if err != nil || !bytes.Equal(first, want) {
			t.Errorf("%s: %s, %v, want %s", c.name, first, err, want)
		}
		clear(first) // which is the caller's own
		to := make([]byte, 0, 256)
		n := testing.AllocsPerRun(100, func() { to, _ = c.MarshalAppend(to[:0], &message{value: b}) })
		if !bytes.Equal(to, want) || n > 1 { // the message itself
			t.Errorf("%s: once more %s, with %v allocations", c.name, to, n)
		}
	}
}

// spy tells what is sent on a stream.
type spy struct {
	grpc.ServerStream
	sent chan any
}

func (s *spy) SendMsg(m any) error {
	s.sent <- m
	return s.ServerStream.SendMsg(m)
}

// tally counts the sends that wait.
type tally struct {
	grpc.ServerStream
	waiting atomic.Int64
}

func (s *tally) SendMsg(m any) error {
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	return s.ServerStream.SendMsg(m)
}

// A client that reads nothing keeps its stream for two minutes: then the method can return, and
// nothing of the stream is left behind.
func TestBroadcast_gives_up_a_client_that_does_not_read(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBroadcast(&wire.EventStreamResponse{Type: strings.Repeat("x", 64<<10)})
		sends, ended := &tally{}, make(chan error, 1)
		began := time.Now()
		h := &herald{run: func(to grpc.ServerStream) (err error) {
			sends.ServerStream = to
			for err == nil {
				err = b.Send(sends)
			}
			ended <- err
			return err
		}}
		if _, err := heraldClient(t, h).EventStream(t.Context(), &wire.EventStreamRequest{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(ended) != 0 || sends.waiting.Load() != 1 {
			t.Fatalf("%d sends wait", sends.waiting.Load())
		}
		if err := <-ended; status.Code(err) != codes.Unavailable || time.Since(began) != mostWait {
			t.Errorf("it ends after %v with %v", time.Since(began), err)
		}
		synctest.Wait()
		if n := sends.waiting.Load(); n != 0 {
			t.Errorf("%d sends wait when the method has returned", n)
		}
	})
}

// stuck is a stream of gRPC whose client reads nothing.
type stuck struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *stuck) Context() context.Context {
	return grpc.NewContextWithServerTransportStream(s.ctx, compressing{})
}

func (s *stuck) SendMsg(any) error {
	<-s.ctx.Done()
	return s.ctx.Err()
}

type compressing struct{ grpc.ServerTransportStream }

func (compressing) SendCompress() string { return "gzip" }

// Nobody keeps a stream by reading nothing for longer than a key lasts: one that is withdrawn
// meanwhile, one that expires, and one that had expired had it not been extended.
func TestBroadcast_waits_no_longer_than_a_key_lasts(t *testing.T) {
	const never = time.Duration(0)
	for story, tc := range map[string]struct {
		first, later time.Duration // until the key expires, at first and when it is looked at again
		withdrawn    time.Duration // when it is
		ends         time.Duration
		code         codes.Code
	}{
		"a good key":               {never, never, never, mostWait, codes.Unavailable},
		"a key that is withdrawn":  {never, never, 30 * time.Second, 40 * time.Second, codes.Unauthenticated},
		"a key that expires":       {7 * time.Second, 7 * time.Second, 7 * time.Second, 7 * time.Second, codes.Unauthenticated},
		"a key that is extended":   {7 * time.Second, 33 * time.Second, 33 * time.Second, 33 * time.Second, codes.Unauthenticated},
		"a key that is good again": {7 * time.Second, never, never, mostWait, codes.Unavailable},
	} {
		synctest.Test(t, func(t *testing.T) {
			began, looks := time.Now(), 0
			key := func(expires time.Duration) *tiergate.Key {
				if expires == never {
					return &tiergate.Key{}
				}
				return &tiergate.Key{ExpiresAt: began.Add(expires)}
			}
			c := &caller{resolve: func(string) (*tiergate.Key, error) {
				if looks++; tc.withdrawn != never && time.Since(began) >= tc.withdrawn {
					return nil, tiergate.Errorf(tiergate.Unauthorized, "it does not open")
				}
				return key(tc.later), nil
			}}
			ctx, cancel := context.WithCancel(withCaller(t.Context(), c, key(tc.first)))
			defer cancel()
			err := NewBroadcast(&wire.EventStreamResponse{}).Send(&stuck{ctx: ctx})
			if took := time.Since(began); took != tc.ends || status.Code(StatusOf(err)) != tc.code {
				t.Errorf("%s: it ends after %v with %v", story, took, err)
			}
			if most := int(tc.ends/recheckEvery) + 2; looks > most {
				t.Errorf("%s: the key was looked at %d times", story, looks)
			}
		})
	}
}

// The end of a call ends its sends.
func TestBroadcast_ends_with_its_call(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := NewBroadcast(&wire.EventStreamResponse{}).Send(&stuck{ctx: ctx}); status.Code(StatusOf(err)) != codes.DeadlineExceeded {
			t.Errorf("it ends with %v", err)
		}
	})
}

// A stream that reaches a server that is ending says nothing: what it says would not last.
func TestStream_of_a_server_that_ends(t *testing.T) {
	s := New(Config{})
	h := &herald{run: func(grpc.ServerStream) error {
		t.Error("the method is called")
		return nil
	}}
	desc := s.guard(Service{Desc: &wire.Service_ServiceDesc, Impl: h})
	s.end()
	for _, d := range desc.Streams {
		if err := d.Handler(h, &stuck{ctx: t.Context()}); status.Code(err) != codes.Unavailable {
			t.Errorf("%s ends with %v", d.StreamName, err)
		}
	}
}
