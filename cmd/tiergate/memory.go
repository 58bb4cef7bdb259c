package main

import (
	"os"
	"runtime/debug"
)

// How much garbage may stand beside what is live, in percent: much while the first state
// is read, since starting is then mostly collecting; little afterwards, since a sidecar's
// memory is its neighbour's.
const (
	gcWhileStarting = 400
	gcWhileServing  = 50
)

// startLean sets the collector for the start of a server and returns what sets it for
// serving. Both leave a GOGC of the environment alone.
func startLean() (serving func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	debug.SetGCPercent(gcWhileStarting)
	return func() { debug.SetGCPercent(gcWhileServing) }
}
