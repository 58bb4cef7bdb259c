package listen

import (
	"io"
	"net"
	"sync/atomic"
	"time"
)

// slack is how much earlier than asked for a deadline may come: a request costs a server
// three deadlines, and each one that is moved costs as much as a flag's decision. Deadlines
// that are nearer than slackFrom are kept exactly.
const (
	slack     = 500 * time.Millisecond
	slackFrom = 4 * time.Second
)

// A deadline is one side's deadline of a connection. What is set is applied when the next
// Read or Write needs it, and not at all while the one in force is near enough. Safe for
// concurrent use, as far as setting one while its operation waits goes: a deadline that is
// sooner than slackFrom reaches a waiting operation at once.
type deadline struct {
	wanted  atomic.Int64 // Unix nanoseconds; 0: none
	applied atomic.Int64
}

// set remembers t, and applies it when it cannot wait for the next operation.
func (d *deadline) set(t time.Time, apply func(time.Time) error) error {
	at := int64(0)
	if !t.IsZero() {
		at = t.UnixNano()
	}
	d.wanted.Store(at)
	if at != 0 && time.Until(t) >= slackFrom {
		return nil
	}
	d.applied.Store(at)
	return apply(t)
}

// settle applies what was set, before an operation.
func (d *deadline) settle(apply func(time.Time) error) error {
	wanted, applied := d.wanted.Load(), d.applied.Load()
	if wanted == applied || applied != 0 && wanted > applied && wanted-applied < int64(slack) {
		return nil
	}
	d.applied.Store(wanted)
	return apply(time.Unix(0, wanted))
}

func (c *conn) Read(b []byte) (int, error) {
	if err := c.read.settle(c.TCPConn.SetReadDeadline); err != nil {
		return 0, err
	}
	return c.TCPConn.Read(b)
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.write.settle(c.TCPConn.SetWriteDeadline); err != nil {
		return 0, err
	}
	return c.TCPConn.Write(b)
}

func (c *conn) SetReadDeadline(t time.Time) error { return c.read.set(t, c.TCPConn.SetReadDeadline) }

func (c *conn) SetWriteDeadline(t time.Time) error { return c.write.set(t, c.TCPConn.SetWriteDeadline) }

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// ReadFrom and WriteTo copy as TCPConn does, under the deadlines that were set.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if err := c.write.settle(c.TCPConn.SetWriteDeadline); err != nil {
		return 0, err
	}
	return c.TCPConn.ReadFrom(r)
}

// WriteTo is the other direction of ReadFrom.
func (c *conn) WriteTo(w io.Writer) (int64, error) {
	if err := c.read.settle(c.TCPConn.SetReadDeadline); err != nil {
		return 0, err
	}
	return c.TCPConn.WriteTo(w)
}

var _ net.Conn = (*conn)(nil)
