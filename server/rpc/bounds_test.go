package rpc_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	wire "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/rpc"
)

// pipes are a server's listener whose connections are in memory and buffer nothing, so that
// their time is synctest's.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	stop   func() time.Duration // ends the server, and returns how long that took
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// inMemory serves in a bubble, until stop is called or the bubble ends.
func inMemory(t *testing.T, drain time.Duration, cfg rpc.Config, services ...rpc.Service) *pipes {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- rpc.New(cfg, services...).Serve(ctx, p, drain) }()
	p.stop = sync.OnceValue(func() time.Duration {
		began := time.Now()
		end()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		return time.Since(began)
	})
	t.Cleanup(func() { p.stop() })
	return p
}

// dial returns a connection.
func (p *pipes) dial(t *testing.T) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	p.conns <- theirs
	t.Cleanup(func() { _ = ours.Close() })
	return ours
}

// client returns a gRPC client with a connection of its own.
func (p *pipes) client(t *testing.T) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return p.dial(t), nil }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// post asks over Connect and returns the status of the answer.
func (p *pipes) post(t *testing.T, path, body string) int {
	t.Helper()
	c := p.dial(t)
	defer c.Close()
	if _, err := io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// A stream outlives the bounds of a request's arrival and of an answer's writing, and its last
// status arrives however long nothing was said before it.
func TestServer_streams_may_be_silent(t *testing.T) {
	for way, open := range map[string]func(t *testing.T, p *pipes) (next func() string){
		"gRPC": func(t *testing.T, p *pipes) func() string {
			stream := follow(t, p.client(t))
			return func() string {
				event, err := stream.Recv()
				if err != nil {
					return err.Error()
				}
				return event.Type
			}
		},
		"Connect": func(t *testing.T, p *pipes) func() string {
			frames := begin(t, p.dial(t))
			return func() string { return nextType(t, frames) }
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := &echo{events: make(chan string)}
			next := open(t, inMemory(t, time.Second, rpc.Config{}, e.service()))
			for range 2 {
				time.Sleep(time.Minute)
				e.events <- "late"
				if got := next(); got != "late" {
					t.Fatalf("over %s: %s", way, got)
				}
			}
			time.Sleep(time.Minute)
			e.events <- "withdraw"
			if got := next(); !strings.Contains(got, "it was withdrawn") {
				t.Errorf("over %s it ends with %s", way, got)
			}
		})
	}
}

// A request that does not arrive ends its call, since one connection can carry a thousand of
// them; one that takes its time, within bounds, is answered.
func TestServer_bounds_the_arrival_of_requests(t *testing.T) {
	reflection := grpc_reflection_v1.ServerReflection_ServerReflectionInfo_FullMethodName
	for _, tc := range []struct {
		path   string
		first  any // what is sent, without the end of the request; nil: nothing
		within time.Duration
	}{
		{resolve, nil, server.Timeouts.Request},
		{resolve, &wire.ResolveStringRequest{FlagKey: "x"}, server.Timeouts.Request},
		{prefix + "EventStream", nil, server.Timeouts.Request},
		{prefix + "EventStream", &wire.EventStreamRequest{}, server.Timeouts.Request},
		{reflection, nil, server.Timeouts.Idle},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := &echo{}
			conn := inMemory(t, time.Second, rpc.Config{}, e.service()).client(t)
			ask := func() grpc.ClientStream {
				stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, tc.path)
				if err != nil {
					t.Fatal(err)
				}
				if tc.first != nil {
					if err := stream.SendMsg(tc.first); err != nil {
						t.Fatal(err)
					}
				}
				return stream
			}
			stream, began := ask(), time.Now()
			err := stream.RecvMsg(&wire.ResolveStringResponse{})
			if took := time.Since(began); status.Code(err) != codes.DeadlineExceeded || took != tc.within {
				t.Errorf("%s with %v ends after %v with %v", tc.path, tc.first, took, err)
			}
			if tc.path != resolve {
				return
			}
			stream = ask()
			time.Sleep(tc.within - time.Millisecond)
			if tc.first == nil {
				_ = stream.SendMsg(&wire.ResolveStringRequest{FlagKey: "x"})
			}
			_ = stream.CloseSend()
			var answer wire.ResolveStringResponse
			if err := stream.RecvMsg(&answer); err != nil || answer.Value != "x" {
				t.Errorf("what arrives at the last moment: %v, %v", &answer, err)
			}
		})
	}
}

// Anyone may ask for the health of the server, and with that takes no room from those who have a key:
// there is a little for such requests to arrive in.
func TestServer_keeps_room_for_those_with_a_key(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := inMemory(t, time.Second, rpc.Config{}, (&echo{}).service())
		conn := p.client(t)
		for range 128 {
			if _, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, healthpb.Health_Check_FullMethodName); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		_, err := healthpb.NewHealthClient(p.client(t)).Check(t.Context(), &healthpb.HealthCheckRequest{})
		if status.Code(err) != codes.ResourceExhausted {
			t.Errorf("one more about the health comes to %v", err)
		}
		if got := ask(t.Context(), t, p.client(t), "x"); got.value != "x" {
			t.Errorf("beside many who say nothing to the health service: %+v", got)
		}
	})
}

// stubborn is a service whose method does not care that its caller has gone.
type stubborn struct {
	echo
	begun chan struct{}
	left  atomic.Bool
}

func (s *stubborn) ResolveString(context.Context, *wire.ResolveStringRequest) (*wire.ResolveStringResponse, error) {
	close(s.begun)
	time.Sleep(time.Hour)
	s.left.Store(true)
	return &wire.ResolveStringResponse{}, nil
}

// When Serve returns no method runs any more, over whatever protocol it was called: what they
// use may be closed then.
func TestServe_waits_for_methods(t *testing.T) {
	for way, call := range map[string]func(t *testing.T, p *pipes){
		"gRPC": func(t *testing.T, p *pipes) { ask(t.Context(), t, p.client(t), "x") },
		"Connect": func(t *testing.T, p *pipes) {
			c := p.dial(t)
			_, _ = io.WriteString(c, "POST "+resolve+" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
			_, _ = io.ReadAll(c)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := &stubborn{begun: make(chan struct{})}
			p := inMemory(t, time.Second, rpc.Config{}, rpc.Service{Desc: &wire.Service_ServiceDesc, Impl: e, Door: "stubborn"})
			go call(t, p)
			<-e.begun
			p.stop()
			if !e.left.Load() {
				t.Errorf("over %s the method still runs", way)
			}
		})
	}
}

// flood streams as fast as it can.
type flood struct {
	echo
	ended chan error
}

func (e *flood) EventStream(_ *wire.EventStreamRequest, to grpc.ServerStreamingServer[wire.EventStreamResponse]) error {
	much := strings.Repeat("x", 64<<10)
	for {
		if err := to.Send(&wire.EventStreamResponse{Type: much}); err != nil {
			e.ended <- err
			return err
		}
	}
}

// A client that does not read its stream holds up no other, and not the end for longer than the
// calls under way may take.
func TestServe_with_a_client_that_does_not_read(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const drain = 2 * time.Second
		e := &flood{ended: make(chan error, 2)}
		p := inMemory(t, drain, rpc.Config{}, rpc.Service{Desc: &wire.Service_ServiceDesc, Impl: e, Door: "flood"})
		if _, err := wire.NewServiceClient(p.client(t)).EventStream(t.Context(), &wire.EventStreamRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(p.dial(t), connectRequest); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // both send until nobody buffers more
		if got := ask(t.Context(), t, p.client(t), "x"); got.value != "x" {
			t.Errorf("beside them over gRPC: %+v", got)
		}
		if got := p.post(t, resolve, "{}"); got != http.StatusOK {
			t.Errorf("beside them over Connect: %d", got)
		}
		if len(e.ended) != 0 {
			t.Errorf("a stream has ended with %v", <-e.ended)
		}
		if took := p.stop(); took != drain {
			t.Errorf("the end took %v, and %v is for calls under way", took, drain)
		}
		if n := len(e.ended); n != 2 {
			t.Errorf("%d of the streams have ended", n)
		}
	})
}
