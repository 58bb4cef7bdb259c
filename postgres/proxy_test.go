package postgres_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A proxy stands between a follower and the server, and knows the protocol well enough to
// lose single notifications, or everything without closing anything.
type proxy struct {
	url     string
	target  string
	drop    atomic.Bool // lose notifications
	dropped atomic.Int64
	silent  atomic.Bool // lose everything
	lost    atomic.Int64

	mu    sync.Mutex
	conns []net.Conn
	wg    sync.WaitGroup
}

func newProxy(t *testing.T, url string) *proxy {
	t.Helper()
	cc, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "tg") //nolint:usetesting // t.TempDir's path may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{
		target: filepath.Join(cc.Host, ".s.PGSQL.5432"),
		url:    fmt.Sprintf("postgres://%s@/%s?host=%s&sslmode=disable", cc.User, cc.Database, dir),
	}
	p.wg.Go(func() { p.serve(l) })
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.wg.Wait()
		_ = os.RemoveAll(dir)
	})
	return p
}

func (p *proxy) serve(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", p.target)
		if err != nil {
			_ = client.Close() // the server is away
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		p.wg.Go(func() { p.toServer(server, client) })
		p.wg.Go(func() { p.toClient(client, server) })
	}
}

// cut closes all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *proxy) toServer(server, client net.Conn) {
	defer server.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if p.silent.Load() {
			p.lost.Add(1)
			continue
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// toClient passes on the server's messages: a type, a length that counts itself, a body.
func (p *proxy) toClient(client, server net.Conn) {
	defer client.Close()
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(server, head); err != nil {
			return
		}
		message := make([]byte, 1+binary.BigEndian.Uint32(head[1:]))
		copy(message, head)
		if _, err := io.ReadFull(server, message[5:]); err != nil {
			return
		}
		if p.silent.Load() {
			p.lost.Add(1)
			continue
		}
		if head[0] == 'A' && p.drop.Load() {
			p.dropped.Add(1)
			continue
		}
		if _, err := client.Write(message); err != nil && !errors.Is(err, net.ErrClosed) {
			return
		}
	}
}
