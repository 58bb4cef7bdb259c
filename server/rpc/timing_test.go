package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	wire "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
)

// A connection that does not say in time what it speaks is closed.
func TestConn_hello_is_bounded(t *testing.T) {
	for _, said := range []string{"", "PR"} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			s := New(Config{})
			began := time.Now()
			go s.keep(ours).take(newHandoff(nil), newHandoff(nil))
			if said != "" {
				if _, err := io.WriteString(theirs, said); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("read: %v", err)
			}
			if took := time.Since(began); took != helloTime {
				t.Errorf("it was closed after %v", took)
			}
			if len(s.conns) != 0 {
				t.Error("it is still known")
			}
			s.grpc.Stop()
		})
	}
}

// late is a service whose stream sends when it is told to.
type late struct {
	wire.UnimplementedServiceServer
	send chan struct{}
}

func (l *late) EventStream(_ *wire.EventStreamRequest, to grpc.ServerStreamingServer[wire.EventStreamResponse]) error {
	for range l.send {
		if err := to.Send(&wire.EventStreamResponse{Type: "late"}); err != nil {
			return err
		}
	}
	return nil
}

// A stream over HTTP/1.1 outlives the bounds of a request's arrival and of an answer's writing.
func TestConnect_streams_outlive_requests(t *testing.T) {
	const bound = 50 * time.Millisecond
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &late{send: make(chan struct{})}
	s := New(Config{}, Service{Desc: &wire.Service_ServiceDesc, Impl: l, Door: "late"})
	s.http.ReadTimeout, s.http.WriteTimeout = bound, bound
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln, time.Second) }()
	defer func() {
		end()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	began := make(chan struct{})
	go func() {
		defer close(l.send)
		l.send <- struct{}{}
		<-began
		time.Sleep(4 * bound) // nothing else tells that a deadline is over
		l.send <- struct{}{}
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+ln.Addr().String()+"/flagd.evaluation.v1.Service/EventStream", strings.NewReader("\x00\x00\x00\x00\x00"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/connect+proto")
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 11) // an event: a frame's 5 bytes, and 6 of a message
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	close(began)
	rest, err := io.ReadAll(resp.Body)
	if want := string(first) + "\x02\x00\x00\x00\x02{}"; err != nil || string(rest) != want {
		t.Errorf("the rest is %q, %v, want %q", rest, err, want)
	}
}
