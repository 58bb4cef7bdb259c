// Package porttest finds addresses for the servers of tests that must know theirs before they listen,
// or listen there again.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// given are the ports that were given out.
var given sync.Map

// Addr returns an address on loopback, HOST:PORT, that nobody listens on now, and no other call of
// this process returned. Its port is not of those that systems give to whoever asks for any, be it a
// server or a client: it stays free while nobody listens there for a while. It fails tb when all are
// taken. Safe for concurrent use.
func Addr(tb testing.TB) string {
	tb.Helper()
	for range 10_000 {
		port := 10_000 + rand.IntN(20_000)
		if _, again := given.LoadOrStore(port, true); again {
			continue
		}
		if l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			_ = l.Close()
			return l.Addr().String()
		}
	}
	tb.Fatal("no port is free")
	return ""
}
