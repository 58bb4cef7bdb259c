//go:build unix

package policy

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"syscall"
)

// limitChild bounds this process for good. Go reserves much more address space than it
// uses, so the limit is on what is added to what the process starts with.
func limitChild() error {
	debug.SetMemoryLimit(admissionMemory / 2)
	limits := []struct {
		what  int
		value uint64
	}{
		{syscall.RLIMIT_CPU, admissionCPU},
		{syscall.RLIMIT_CORE, 0},
		{syscall.RLIMIT_AS, addressSpace() + admissionMemory},
	}
	for _, l := range limits {
		var have syscall.Rlimit
		if err := syscall.Getrlimit(l.what, &have); err != nil {
			return fmt.Errorf("read the limits of the admission process: %w", err)
		}
		if l.what == syscall.RLIMIT_AS && l.value == admissionMemory {
			continue // unknown how much is in use: the soft limit above has to do
		}
		have.Cur = min(have.Max, l.value)
		if l.what == syscall.RLIMIT_CPU {
			have.Max = min(have.Max, l.value+1)
		}
		if err := syscall.Setrlimit(l.what, &have); err != nil {
			return fmt.Errorf("limit the admission process: %w", err)
		}
	}
	return nil
}

// addressSpace returns the bytes of address space in use, 0 where nobody says.
func addressSpace() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, err := strconv.ParseUint(string(bytes.Fields(text)[0]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

func killedByCPU(exit *exec.ExitError) bool {
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && (status.Signal() == syscall.SIGXCPU || status.Signal() == syscall.SIGKILL)
}
