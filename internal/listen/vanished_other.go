//go:build !linux

package listen

import (
	"net"
	"time"
)

// GiveUpAfter does nothing here; see the one for Linux.
func GiveUpAfter(net.Conn, time.Duration) {}
