package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/tiergate/tiergate/server"
)

// Serve answers on ln until ctx ends; then it closes ln, ends all streams with UNAVAILABLE, lets
// the other calls finish for at most drain, closes what is left, and returns nil when nothing of
// it runs any more. It returns earlier only with the reason why ln broke. A Server serves once.
func (s *Server) Serve(ctx context.Context, ln net.Listener, drain time.Duration) error {
	h2, h1 := newHandoff(ln.Addr()), newHandoff(ln.Addr())
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.grpc.Serve(h2) })
	serving.Go(func() { _ = s.http.Serve(h1) })
	broken := make(chan error, 1)
	serving.Go(func() { broken <- s.accept(ln, h2, h1) })
	var why error
	select {
	case why = <-broken:
		why = fmt.Errorf("serve %s: %w", ln.Addr(), why)
	case <-ctx.Done():
	}
	s.end()
	closed := ln.Close()
	if why != nil {
		closed = nil
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	s.drain(bounded)
	serving.Wait()
	s.speaking.Wait()
	return errors.Join(why, closed)
}

// accept hands each connection to what it speaks, until ln is closed or breaks.
func (s *Server) accept(ln net.Listener, h2, h1 *handoff) error {
	var taking sync.WaitGroup
	defer taking.Wait()
	pause := time.Duration(0)
	for {
		c, err := ln.Accept()
		switch {
		case err == nil:
			pause = 0
		case passing(err):
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
				continue
			case <-s.ending.Done():
				return err
			}
		default:
			return err
		}
		if own := s.keep(c); own != nil {
			taking.Go(func() { own.take(h2, h1) })
		}
	}
}

// passing reports whether a listener that could not accept may do so later: the machine is
// short of something, or the client was gone before.
func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// drain ends both servers: in peace until ctx ends, then by force.
func (s *Server) drain(ctx context.Context) {
	s.closeConns(func(c *conn) bool { return !c.spoke.Load() })
	var both sync.WaitGroup
	both.Go(s.grpc.GracefulStop)
	both.Go(func() {
		server.SayFarewell(ctx, s.anyHTTP)
		_ = s.http.Shutdown(ctx)
	})
	done := make(chan struct{})
	go func() {
		both.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	s.closeConns(func(*conn) bool { return true })
	s.grpc.Stop()
	_ = s.http.Close()
	<-done
}

// changed knows how many connections of HTTP/1.x there are: net/http waits for none at its end.
func (s *Server) changed(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.speaking.Add(1)
	case http.StateClosed:
		s.speaking.Done()
	}
}

// A handoff is a listener of connections that another one has accepted.
type handoff struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
	addr   net.Addr
}

func newHandoff(addr net.Addr) *handoff {
	h := &handoff{conns: make(chan net.Conn), closed: make(chan struct{}), addr: addr}
	h.close = sync.OnceFunc(func() { close(h.closed) })
	return h
}

func (h *handoff) hand(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		_ = c.Close()
	}
}

// Accept waits for the next connection.
func (h *handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, http.ErrServerClosed
	}
}

// Close ends Accept; whose turn had not come is closed.
func (h *handoff) Close() error {
	h.close()
	return nil
}

func (h *handoff) Addr() net.Addr { return h.addr }
