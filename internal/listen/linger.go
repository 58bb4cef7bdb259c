package listen

import (
	"io"
	"net"
	"sync/atomic"
	"time"
)

// How long and how much a refused request is read on, so that its sender can read the refusal.
const (
	lingerTime  = time.Second
	lingerBytes = 32 << 20
)

// listener accepts connections of type conn.
type listener struct{ *net.TCPListener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return &conn{TCPConn: c}, nil
}

// conn is a TCP connection that can linger and whose deadlines are cheap.
type conn struct {
	*net.TCPConn
	read, write deadline
	marked      atomic.Bool // by Linger
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

func (c *conn) Close() error {
	if c.marked.Swap(false) && c.CloseWrite() == nil && c.TCPConn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.TCPConn, lingerBytes)
	}
	return c.TCPConn.Close()
}
