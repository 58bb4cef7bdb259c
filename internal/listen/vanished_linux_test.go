package listen

import (
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The system is told how long to wait for a peer of a TCP connection, and a Unix socket is left alone.
func TestGiveUpAfter(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		ln, err := Listen(addr, Options{Timeouts: Timeouts{Write: time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		GiveUpAfter(server, 30*time.Second)
		raw, ok, err := rawOf(server)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		_ = raw.Control(func(fd uintptr) {
			got, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
			if ln.Addr().Network() == "tcp" && (got != 30_000 || err != nil) {
				t.Errorf("the bound is %d ms, %v", got, err)
			}
		})
		if _, err := server.Write([]byte("x")); err != nil {
			t.Errorf("afterwards a write ends with %v", err)
		}
		_, _, _ = client.Close(), server.Close(), ln.Close()
	}
}
