//go:build !race

// The race detector of Go 1.26 ends itself now and then where so many goroutines are in one
// bubble of synctest: https://go.dev/issue/78156.

package server_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// Thousands may wait for a revision at once, each for as long as it takes to come, and look no more
// often than a few times; one more than that is turned away at once.
func TestRevisions_let_thousands_wait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := courseAt(7)
		defer time.Sleep(time.Second) // until nobody looks any more
		s := &server.Revisions{Evaluator: c}
		const most = 4096
		var all sync.WaitGroup
		for range most {
			all.Go(func() {
				if rev, code, took := asks(t.Context(), s, "01234567-8"); rev != 8 || took > 52*time.Millisecond {
					t.Errorf("%d, %q after %v", rev, code, took)
				}
			})
		}
		synctest.Wait()
		if rev, code, took := asks(t.Context(), s, "01234567-8"); code != tiergate.Unavailable || took != 0 {
			t.Errorf("one too many: %d, %q after %v", rev, code, took)
		}
		time.Sleep(50 * time.Millisecond)
		c.puts("0123456789abcdef", 8)
		all.Wait()
		if n := c.looks.Load(); n > 6*most {
			t.Errorf("they looked %d times", n)
		}
		if rev, _, took := asks(t.Context(), s, "01234567-8"); rev != 8 || took != 0 {
			t.Errorf("afterwards: %d after %v", rev, took)
		}
	})
}
