package localpg

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// A process is a server that we started.
type process struct {
	pid  int
	done chan struct{} // closed when it has ended and was waited for
}

// startProcess starts the server on a thread of its own, which lives as long as the
// server: where the kernel kills a child with its parent, "parent" is the thread that
// forked it, and Go ends a locked thread only when its goroutine ends.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
			close(p.done)
		}
	}()
	return p, <-started
}

// stop asks for a fast shutdown, then for an immediate one, then kills.
func (p *process) stop() error {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		select {
		case <-p.done: // before the signal: the pid may be somebody else's by now
			return nil
		default:
		}
		if err := syscall.Kill(p.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop Postgres: %w", err)
		}
		select {
		case <-p.done:
			return nil
		case <-time.After(stopTimeout):
		}
	}
	return fmt.Errorf("process %d of Postgres does not end", p.pid)
}
