package listen

import (
	"net"
	"syscall"
	"time"
)

const tcpUserTimeout = 0x12 // which package syscall does not name

// GiveUpAfter ends a TCP connection whose peer has acknowledged nothing of what was written for d,
// such as a telephone that has lost its network: by itself the system tries for a quarter of an
// hour. What cannot be told so is left as it is. It is kept on Linux only.
func GiveUpAfter(c net.Conn, d time.Duration) {
	raw, ok, err := rawOf(c)
	if !ok || err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
	})
}
