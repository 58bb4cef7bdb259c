package server

import (
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
)

// heardListener accepts connections that remember how the request on them began: of one that
// cannot be read to its end fasthttp keeps nothing, and it is refused in the form of its door.
type heardListener struct{ net.Listener }

func (l heardListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if secure, ok := c.(*tls.Conn); ok {
		return &heardTLS{Conn: secure}, nil
	}
	return &heard{Conn: c}, nil
}

// targetOf returns what the request that is read from a connection asks for, and "" when that
// is not known: too little has arrived, or it came together with the request before.
func targetOf(c net.Conn) string {
	if b, ok := c.(interface{ target() string }); ok {
		return b.target()
	}
	return ""
}

type heard struct {
	net.Conn
	beginning
}

// NetConn returns the connection inside, as that of a *tls.Conn does.
func (c *heard) NetConn() net.Conn { return c.Conn }

func (c *heard) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.hear(b[:n])
	return n, err
}

func (c *heard) Write(b []byte) (int, error) {
	c.say(b)
	return c.Conn.Write(b)
}

type heardTLS struct {
	*tls.Conn
	beginning
}

func (c *heardTLS) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.hear(b[:n])
	return n, err
}

func (c *heardTLS) Write(b []byte) (int, error) {
	c.say(b)
	return c.Conn.Write(b)
}

// A beginning is the first bytes of the newest request on a connection. What comes first after
// an answer begins a request. One goroutine may read while another writes.
type beginning struct {
	begun atomic.Bool
	n     int
	bytes [128]byte
}

func (b *beginning) hear(p []byte) {
	if len(p) > 0 && !b.begun.Load() {
		b.begun.Store(true)
		b.n = 0
	}
	b.n += copy(b.bytes[b.n:], p)
}

func (b *beginning) say(p []byte) {
	if !strings.HasPrefix(View(p), "HTTP/1.1 100 ") { // after which the body comes
		b.begun.Store(false)
	}
}

func (b *beginning) target() string {
	line, _, ended := strings.Cut(strings.TrimLeft(string(b.bytes[:b.n]), "\r\n"), "\n")
	method, rest, _ := strings.Cut(strings.TrimSuffix(line, "\r"), " ")
	target, _, whole := strings.Cut(rest, " ")
	if whole = whole || ended || b.n == len(b.bytes); !whole || strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return ""
	}
	return target
}
