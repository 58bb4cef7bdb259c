package rpc

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// preface is how an HTTP/2 connection begins; no method of HTTP/1.x does.
const preface = "PRI "

// conn is a connection that the server knows of until it is closed.
type conn struct {
	net.Conn
	owner *Server
	head  []byte      // read, and not yet by whoever the connection was handed to
	spoke atomic.Bool // what it speaks is known
	http  bool        // it is HTTP/1.x; set before spoke
}

// keep makes a connection known, unless there are too many or the server ends: then it is closed.
func (s *Server) keep(c net.Conn) *conn {
	own := &conn{Conn: c, owner: s}
	s.mu.Lock()
	full := len(s.conns) >= s.maxConns()
	room := s.conns != nil && !full && s.ending.Err() == nil
	if room {
		s.conns[own] = struct{}{}
	}
	s.mu.Unlock()
	if room {
		return own
	}
	if full {
		s.others(http.StatusServiceUnavailable)
	}
	_ = c.Close()
	return nil
}

// closeConns closes those connections that are.
func (s *Server) closeConns(are func(*conn) bool) {
	s.mu.Lock()
	var chosen []*conn
	for c := range s.conns {
		if are(c) {
			chosen = append(chosen, c)
		}
	}
	s.mu.Unlock()
	for _, c := range chosen {
		_ = c.Close()
	}
}

func (s *Server) anyHTTP() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.spoke.Load() && c.http {
			return true
		}
	}
	return false
}

// take hands the connection to what it speaks, or closes it when it does not say that in time.
func (c *conn) take(h2, h1 *handoff) {
	if c.SetDeadline(time.Now().Add(helloTime)) != nil || !c.hello() || c.SetDeadline(time.Time{}) != nil {
		_ = c.Close()
		return
	}
	c.http = !strings.HasPrefix(string(c.head), preface)
	c.spoke.Store(true)
	if c.http {
		h1.hand(c)
	} else {
		h2.hand(c)
	}
}

// hello reads until it is known what the connection speaks.
func (c *conn) hello() bool {
	if secure, ok := c.Conn.(*tls.Conn); ok && secure.Handshake() != nil {
		return false
	}
	head := make([]byte, 0, 32)
	for len(head) < len(preface) && strings.HasPrefix(preface, string(head)) {
		n, err := c.Conn.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if err != nil {
			return false
		}
	}
	c.head = head
	return true
}

// Read reads what hello has read, and then on.
func (c *conn) Read(b []byte) (int, error) {
	if len(c.head) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.head)
	if c.head = c.head[n:]; len(c.head) == 0 {
		c.head = nil
	}
	return n, nil
}

// CloseWrite ends what is sent: net/http does so when it refuses a request unread, or the
// client would see a reset and not why.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close closes the connection, which the server then does not know any more.
func (c *conn) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.conns, c)
	c.owner.mu.Unlock()
	return c.Conn.Close()
}
