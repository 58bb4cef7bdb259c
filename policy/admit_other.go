//go:build !unix

package policy

import (
	"os/exec"
	"runtime/debug"
)

// limitChild sets the soft limit that every platform has.
func limitChild() error {
	debug.SetMemoryLimit(admissionMemory / 2)
	return nil
}

func killedByCPU(*exec.ExitError) bool { return false }
