package listen

import (
	"io"
	"net"
	"sync/atomic"
	"time"
)

// Timeouts bound what a connection may wait for, so that a server needs to read no clock
// and to set no deadline for each request: a deadline that is moved costs as much as the
// decision about a flag. A zero Write is no bound. Request and Idle are both set or both
// zero, which is no bound: each ends by moving the deadline of the other. Write and Idle
// are longer than slack. Whatever a client sends after we have written, also the rest of a
// TLS handshake and a body after 100 Continue, is a next request.
type Timeouts struct {
	Request time.Duration // from a request's first byte, or the connection's beginning, to the last byte
	Write   time.Duration // of one write
	Idle    time.Duration // between an answer and the next request
}

const (
	// slack is how much earlier than its bound a write or an idle connection may end, so
	// that its deadline is moved now and then only.
	slack = 500 * time.Millisecond

	// How long and how much a refused request is read on, so that its sender can read the refusal.
	lingerTime  = time.Second
	lingerBytes = 32 << 20
)

// What a connection is doing.
const (
	arriving uint32 = iota // its first bytes are here or it is new: the rest has to come in time
	late                   // the rest of a request is waited for, and the deadline is set
	idle                   // it was answered
)

// listener accepts connections of type conn.
type listener struct {
	net.Listener
	timeouts Timeouts
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, timeouts: l.timeouts}, nil
}

// conn is a TCP or Unix connection that keeps its Timeouts and can linger. A deadline that
// is set from outside reaches an operation under way; where a timeout bounds the next one,
// that sets its own. One goroutine may read while another writes.
type conn struct {
	net.Conn
	timeouts Timeouts
	doing    atomic.Uint32
	read     atomic.Int64 // the deadline of reads, since the program's start; 0: none
	write    atomic.Int64
	marked   atomic.Bool // by Linger
}

var started = time.Now()

// Read reads under the deadline of what the connection is doing.
func (c *conn) Read(b []byte) (int, error) {
	switch c.doing.Load() {
	case idle:
		if err := c.extend(&c.read, c.timeouts.Idle, c.Conn.SetReadDeadline); err != nil {
			return 0, err
		}
	case arriving:
		c.doing.Store(late)
		if err := c.begin(); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Read(b)
	if n > 0 && c.doing.Load() == idle {
		c.doing.Store(arriving)
	}
	return n, err
}

// Write writes an answer, after which the connection is idle.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.extend(&c.write, c.timeouts.Write, c.Conn.SetWriteDeadline); err != nil {
		return 0, err
	}
	c.doing.Store(idle)
	return c.Conn.Write(b)
}

// begin sets the deadline of the rest of a request.
func (c *conn) begin() error {
	if c.timeouts.Request == 0 {
		return nil
	}
	at := time.Since(started) + c.timeouts.Request
	c.read.Store(int64(at))
	return c.Conn.SetReadDeadline(started.Add(at))
}

// extend moves a deadline to bound from now, unless it is near that.
func (c *conn) extend(deadline *atomic.Int64, bound time.Duration, set func(time.Time) error) error {
	if bound == 0 {
		return nil
	}
	at := time.Since(started) + bound
	if early := at - time.Duration(deadline.Load()); early >= 0 && early < slack {
		return nil
	}
	deadline.Store(int64(at))
	return set(started.Add(at))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.read.Store(sinceStart(t))
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.write.Store(sinceStart(t))
	return c.Conn.SetWriteDeadline(t)
}

func (c *conn) SetDeadline(t time.Time) error {
	c.read.Store(sinceStart(t))
	c.write.Store(sinceStart(t))
	return c.Conn.SetDeadline(t)
}

func sinceStart(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return int64(t.Sub(started))
}

// Linger makes the close of c wait until its peer has read what was written: for a second
// at most, what still arrives is thrown away. Without it the kernel answers a body that is
// refused unread with a reset, and the client never sees why. Connections that did not
// come from Listen are left as they are.
func Linger(c net.Conn) {
	if outer, ok := c.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
		c = outer.NetConn()
	}
	if lc, ok := c.(*conn); ok {
		lc.marked.Store(true)
	}
}

// CloseWrite ends what is sent, where the connection can.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *conn) Close() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if ok && c.marked.Swap(false) && half.CloseWrite() == nil && c.Conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}
