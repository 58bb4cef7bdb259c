package rpc

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A connection that does not say in time what it speaks is closed.
func TestConn_hello_is_bounded(t *testing.T) {
	for _, said := range []string{"", "PR"} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			s := New(Config{})
			began := time.Now()
			go s.keep(ours).take(newHandoff(nil), newHandoff(nil))
			if said != "" {
				if _, err := io.WriteString(theirs, said); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("read: %v", err)
			}
			if took := time.Since(began); took != helloTime {
				t.Errorf("it was closed after %v", took)
			}
			if len(s.conns) != 0 {
				t.Error("it is still known")
			}
			s.grpc.Stop()
		})
	}
}
