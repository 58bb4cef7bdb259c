package porttest_test

import (
	"net"
	"testing"

	"github.com/tiergate/tiergate/internal/porttest"
)

// Each address is another one, and free, while nobody listens there.
func TestAddr(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		addr := porttest.Addr(t)
		if seen[addr] {
			t.Fatalf("%s was given out twice", addr)
		}
		seen[addr] = true
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Error(err)
			continue
		}
		_ = l.Close()
	}
}
