package listen_test

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/tiergate/tiergate/internal/listen"
)

// connected returns the server's end of a connection and the client's.
func connected(t *testing.T) (server, client net.Conn) {
	t.Helper()
	ln := open(t, "127.0.0.1:0", listen.Options{})
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return server, client
}

// A read ends at its deadline: one set before, one moved while it waits, one in the past,
// and a near one that follows a far one.
func TestDeadline_ends_a_read(t *testing.T) {
	server, client := connected(t)
	buf := make([]byte, 1)
	for name, set := range map[string]func(){
		"near":           func() { _ = server.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) },
		"past":           func() { _ = server.SetDeadline(time.Unix(1, 0)) },
		"far, then near": func() { _ = server.SetReadDeadline(time.Now().Add(time.Hour)); _ = server.SetReadDeadline(time.Now()) },
	} {
		set()
		if _, err := server.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: Read ended with %v", name, err)
		}
	}
	_ = server.SetDeadline(time.Now().Add(time.Hour))
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := server.Read(buf); n != 1 || err != nil {
		t.Errorf("after a far deadline Read got %d, %v", n, err)
	}
	waiting := make(chan error)
	go func() {
		_, err := server.Read(buf)
		waiting <- err
	}()
	_ = server.SetReadDeadline(time.Unix(1, 0))
	if err := <-waiting; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a waiting Read ended with %v", err)
	}
	_ = server.SetReadDeadline(time.Time{})
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := server.Read(buf); n != 1 || err != nil {
		t.Errorf("without a deadline Read got %d, %v", n, err)
	}
}

// A write that nobody reads ends at its deadline.
func TestDeadline_ends_a_write(t *testing.T) {
	server, _ := connected(t)
	_ = server.SetWriteDeadline(time.Now().Add(time.Hour))
	if _, err := server.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = server.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := server.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write ended with %v", err)
	}
}
