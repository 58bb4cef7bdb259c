package faultproxy

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// A Proxy is a Unix socket that leads to another one of Postgres. It knows the protocol's
// framing: what the server says in answer to one statement is passed on as a whole, or not
// at all. Safe for concurrent use.
type Proxy struct {
	dir, target string
	listener    net.Listener

	lose   atomic.Int64 // of a million answers, how many are lost
	stall  atomic.Bool
	closed atomic.Bool
	counts struct{ answers, lost, cut, stalled atomic.Int64 }

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

// Counts is what a Proxy has done: a fault that was never counted proves nothing.
type Counts struct {
	Answers int64 // passed on
	Lost    int64 // statements that were done, whose connection ended before the answer
	Cut     int64 // connections that Cut ended
	Stalled int64 // messages that were held back
}

// New opens a proxy before the Postgres whose socket is in the folder target.
func New(target string) (*Proxy, error) {
	dir, err := os.MkdirTemp("", "tgp") // short: the path of a socket has at most 107 bytes
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	p := &Proxy{dir: dir, target: target, listener: l, conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.serve)
	return p, nil
}

// URL leads to a database through the proxy.
func (p *Proxy) URL(user, database string) string {
	return fmt.Sprintf("postgres://%s@/%s?host=%s&sslmode=disable", user, database, p.dir)
}

// Lose makes that many of a million answers get lost, with their connections, after the
// server has done what was asked.
func (p *Proxy) Lose(perMillion int64) { p.lose.Store(perMillion) }

// Stall holds everything back that the server says, or lets it go again.
func (p *Proxy) Stall(on bool) { p.stall.Store(on) }

// Counts returns what was done so far.
func (p *Proxy) Counts() Counts {
	return Counts{
		Answers: p.counts.answers.Load(), Lost: p.counts.lost.Load(), Cut: p.counts.cut.Load(), Stalled: p.counts.stalled.Load(),
	}
}

// Cut ends all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
		p.counts.cut.Add(1)
	}
	clear(p.conns)
}

// Close ends the proxy and all connections.
func (p *Proxy) Close() error {
	p.closed.Store(true)
	err := p.listener.Close()
	p.Cut()
	p.wg.Wait()
	_ = os.RemoveAll(p.dir)
	return err
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", filepath.Join(p.target, ".s.PGSQL.5432"))
		if err != nil {
			_ = client.Close() // the server is away
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.wg.Go(func() {
			_, _ = io.Copy(server, client)
			p.end(client, server)
		})
		p.wg.Go(func() {
			p.answers(client, server)
			p.end(client, server)
		})
	}
}

func (p *Proxy) end(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(p.conns, c)
	}
}

// maxHeld bounds what is held of one answer; a larger one is passed on in parts.
const maxHeld = 1 << 20

// answers passes on what the server says. A message is a type, a length that counts itself,
// and a body; ReadyForQuery ends an answer, and what it was about is committed then.
func (p *Proxy) answers(client io.Writer, server io.Reader) {
	var held []byte
	for {
		var head [5]byte
		if _, err := io.ReadFull(server, head[:]); err != nil {
			_, _ = client.Write(held) // the reason why the server ends the connection
			return
		}
		at := len(held)
		size := int(binary.BigEndian.Uint32(head[1:])) - 4
		if size < 0 {
			return
		}
		held = append(append(held, head[:]...), make([]byte, size)...)
		if _, err := io.ReadFull(server, held[at+5:]); err != nil {
			return
		}
		ready := head[0] == 'Z'
		if !ready && head[0] != 'R' && head[0] != 'A' && len(held) < maxHeld {
			continue // signing in and notifications are no answers
		}
		if ready {
			if rand.Int64N(1_000_000) < p.lose.Load() {
				p.counts.lost.Add(1)
				return
			}
			p.counts.answers.Add(1)
		}
		if p.stall.Load() {
			p.counts.stalled.Add(1)
			for p.stall.Load() && !p.closed.Load() {
				time.Sleep(5 * time.Millisecond)
			}
		}
		if _, err := client.Write(held); err != nil {
			return
		}
		held = held[:0]
	}
}
