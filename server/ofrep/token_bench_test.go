package ofrep

import (
	"testing"
	"time"

	"github.com/tiergate/tiergate"
)

// BenchmarkEventStreams measures what an answer pays to tell of a stream.
func BenchmarkEventStreams(b *testing.B) {
	c := call{req: tiergate.Request{Set: "default", UserID: "alice", TeamID: "acme", Now: time.Unix(1_800_000_000, 0)}}
	c.resume = tiergate.Resume{Epoch: "0123456789abcdef", Rev: 7}
	body := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		c.givePass()
		body = c.appendEventStreams(body[:0], &testSecret, tiergate.StepNever)
	}
	b.ReportMetric(float64(len(body)), "bytes")
}
