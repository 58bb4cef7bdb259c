package listen

import (
	"errors"
	"net"
	"syscall"
)

// Gone reports whether the peer of a connection has ended it, as far as that can be seen
// without waiting and without taking what it may have sent before. So a server that only
// writes, now and then, need not wait for a write that fails.
func Gone(c net.Conn) bool {
	raw, ok, err := rawOf(c)
	if !ok || err != nil {
		return err != nil
	}
	ended := false
	err = raw.Read(func(fd uintptr) (done bool) {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		waits := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR)
		ended = err == nil && n == 0 || err != nil && !waits
		return true
	})
	return ended || err != nil
}

// rawOf returns the system's side of a connection, inside TLS and our own type; ok is false for
// one that has none.
func rawOf(c net.Conn) (_ syscall.RawConn, ok bool, _ error) {
	if outer, is := c.(interface{ NetConn() net.Conn }); is { // *tls.Conn
		c = outer.NetConn()
	}
	if own, is := c.(*conn); is {
		c = own.Conn
	}
	system, ok := c.(syscall.Conn)
	if !ok {
		return nil, false, nil
	}
	raw, err := system.SyscallConn()
	return raw, true, err
}
