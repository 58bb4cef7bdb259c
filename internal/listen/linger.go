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

// lingering accepts connections that Linger can mark.
type lingering struct{ *net.TCPListener }

func (l lingering) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return &lingerConn{TCPConn: c}, nil
}

type lingerConn struct {
	*net.TCPConn
	marked atomic.Bool
}

// Linger makes the close of c wait until its peer has read what was written: for a second
// at most, what still arrives is thrown away. Without it the kernel answers a body that is
// refused unread with a reset, and the client never sees why. Connections that did not
// come from Listen are left as they are.
func Linger(c net.Conn) {
	if outer, ok := c.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
		c = outer.NetConn()
	}
	if lc, ok := c.(*lingerConn); ok {
		lc.marked.Store(true)
	}
}

func (c *lingerConn) Close() error {
	if c.marked.Swap(false) && c.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.TCPConn, lingerBytes)
	}
	return c.TCPConn.Close()
}
