//go:build !race

// The race detector of Go 1.26 ends itself now and then where so many goroutines are in one
// bubble of synctest: https://go.dev/issue/78156.

package ofrep

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tiergate/tiergate/server"
)

// Clients of one change are told over a while and not in one moment.
func TestStream_spreads_what_all_are_told(t *testing.T) {
	bubble(t, StreamConfig{}, func(t *testing.T, h *history, s *Streams) {
		const n = 4000
		var clients []*client
		for range n {
			clients = append(clients, connect(s, at("01234567-1", "")).listen())
		}
		synctest.Wait()
		began := time.Now()
		h.next("")
		time.Sleep(n * server.PerClient)
		synctest.Wait()
		var slots [10]int // of the time that they are spread over
		for _, c := range clients {
			e := <-c.events
			slots[int(e.after-began.Sub(c.began))/(n*int(server.PerClient)/len(slots))]++
		}
		for i, told := range slots {
			if told < n/len(slots)/2 || told > n/len(slots)*2 {
				t.Errorf("part %d of the time: %d clients of %d are told", i, told, n)
			}
		}
	})
}
