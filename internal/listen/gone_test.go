package listen_test

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/tiergate/tiergate/internal/listen"
)

// Whether a client has gone is seen without waiting for it and without taking what it sent: over
// TCP, through a Unix socket and within TLS.
func TestGone(t *testing.T) {
	own := pairOf(t, "server")
	for name, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": "unix:" + filepath.Join(t.TempDir(), "s"), "tls": "127.0.0.1:0"} {
		t.Run(name, func(t *testing.T) {
			plain, client := connected(t, addr, listen.Timeouts{Request: never, Write: never, Idle: never})
			server := plain
			if name == "tls" {
				server = tls.Server(plain, &tls.Config{Certificates: []tls.Certificate{own.tls}})
			}
			exchange(t, plain, client)
			if listen.Gone(server) {
				t.Error("a client that waits is said to have gone")
			}
			send(t, client)
			for range 100 { // whether it has arrived or not
				if listen.Gone(server) {
					t.Fatal("a client that has sent something is said to have gone")
				}
			}
			if _, err := plain.Read(make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
			_ = client.Close()
			for end := time.Now().Add(20 * time.Second); !listen.Gone(server); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("a client that has gone is not seen to have")
				}
			}
			_ = plain.Close()
			if !listen.Gone(server) {
				t.Error("a connection that we closed goes on")
			}
		})
	}
	ours, theirs := net.Pipe()
	if listen.Gone(ours) {
		t.Error("a connection of another kind is said to have gone")
	}
	_, _ = ours.Close(), theirs.Close()
}
