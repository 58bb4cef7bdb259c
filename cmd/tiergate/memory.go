package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// How much garbage may stand beside what is live, in percent: much while the first state
// is read, since starting is then mostly collecting; little afterwards, since a sidecar's
// memory is its neighbour's.
const (
	gcWhileStarting = 400
	gcWhileServing  = 50
)

// leastGarbage may stand beside what is live in any case. grpc-go makes some 8 KiB for each
// call: with 3 MiB, half of what is live with a small configuration, collecting was a
// quarter of what a call cost.
const leastGarbage = 10 << 20

// startLean sets the collector for the start of a server and returns what sets it for
// serving. Both leave a GOGC of the environment alone.
func startLean() (serving func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	debug.SetGCPercent(gcWhileStarting)
	return func() { leaveRoom(0) }
}

// leaveRoom sets the percentage for what is live now, and after each collection again. Small
// differences to the one in force are let be, since all goroutines stop for a change.
func leaveRoom(inForce int) {
	if wanted := roomFor(liveBytes()); wanted > inForce+inForce/8 || wanted < inForce-inForce/8 {
		inForce = wanted
		debug.SetGCPercent(wanted)
	}
	runtime.SetFinalizer(new(collected), func(*collected) { leaveRoom(inForce) })
}

// collected is something that a collection finds unused.
type collected [16]byte

func roomFor(live uint64) int {
	return int(min(max(gcWhileServing, leastGarbage*100/max(live, 1)), gcWhileStarting))
}

func liveBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
