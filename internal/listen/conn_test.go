package listen_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tiergate/tiergate/internal/listen"
)

// connected returns the server's end of a connection to addr and the client's.
func connected(t *testing.T, addr string, timeouts listen.Timeouts) (server, client net.Conn) {
	t.Helper()
	ln := open(t, addr, listen.Options{Timeouts: timeouts})
	client, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
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

const soon, never = 20 * time.Millisecond, time.Hour

func ends(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s ended with %v", what, err)
	}
}

// A request that does not come in time is not waited for: neither the first one of a
// connection, nor the rest of a later one; over TCP and through a Unix socket.
func TestTimeouts_end_a_request_that_does_not_come(t *testing.T) {
	for _, addr := range []func() string{
		func() string { return "127.0.0.1:0" },
		func() string { return "unix:" + filepath.Join(t.TempDir(), "s") },
	} {
		timeouts := listen.Timeouts{Request: soon, Idle: never}
		server, _ := connected(t, addr(), timeouts)
		_, err := server.Read(make([]byte, 1))
		ends(t, "the first read", err)

		server, client := connected(t, addr(), timeouts)
		exchange(t, server, client)
		send(t, client)
		if _, err := io.ReadFull(server, make([]byte, 3)); err != nil { // "GET" of a second request
			t.Fatal(err)
		}
		_, err = server.Read(make([]byte, 1))
		ends(t, "the rest of a request", err)
	}
}

// A connection that asks no more is closed after its idle time, and not after that of a
// request.
func TestTimeouts_end_an_idle_connection(t *testing.T) {
	server, client := connected(t, "127.0.0.1:0", listen.Timeouts{Request: never, Idle: time.Second})
	exchange(t, server, client)
	_, err := server.Read(make([]byte, 1))
	ends(t, "an idle read", err)

	server, client = connected(t, "127.0.0.1:0", listen.Timeouts{Request: time.Second, Idle: never})
	exchange(t, server, client)
	read := make(chan error, 1)
	go func() {
		_, err := server.Read(make([]byte, 1))
		read <- err
	}()
	select {
	case err := <-read:
		t.Fatalf("an idle connection ended with %v", err)
	case <-time.After(2 * time.Second): // past the time that a request may take
	}
	_ = client.Close()
	if err := <-read; !errors.Is(err, io.EOF) {
		t.Errorf("a read from a client that has gone ended with %v", err)
	}
}

// A write that nobody reads ends.
func TestTimeouts_end_a_write(t *testing.T) {
	server, _ := connected(t, "127.0.0.1:0", listen.Timeouts{Write: time.Second})
	_, err := server.Write(make([]byte, 64<<20))
	ends(t, "a write", err)
}

// A deadline that is set from outside ends an operation that waits already.
func TestDeadlines_from_outside_reach_what_waits(t *testing.T) {
	for _, timeouts := range []listen.Timeouts{{}, {Request: never, Write: never, Idle: never}} {
		server, client := connected(t, "127.0.0.1:0", timeouts)
		exchange(t, server, client)
		read := make(chan error)
		go func() {
			_, err := server.Read(make([]byte, 1))
			read <- err
		}()
		// Until the read waits, its own deadline may come after the one set here.
		for ended := false; !ended; {
			_ = server.SetReadDeadline(time.Unix(1, 0))
			select {
			case err := <-read:
				ends(t, "a waiting read", err)
				ended = true
			case <-time.After(time.Millisecond):
			}
		}
		_ = server.SetDeadline(time.Time{})
		exchange(t, server, client)
	}
}

// exchange sends a request and answers it.
func exchange(t *testing.T, server, client net.Conn) {
	t.Helper()
	send(t, client)
	if _, err := io.ReadFull(server, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Write([]byte("OK")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(client, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
}

func send(t *testing.T, client net.Conn) {
	t.Helper()
	if _, err := client.Write([]byte("GET")); err != nil {
		t.Fatal(err)
	}
}
