package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A pidFile is what a server's postmaster.pid says.
type pidFile struct {
	pid   int // 0: there is no file, or it cannot be read
	ready bool
}

func readPidFile(data string) pidFile {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return pidFile{}
	}
	lines := strings.Split(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid < 2 {
		return pidFile{}
	}
	return pidFile{pid: pid, ready: len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready"}
}

// clearLeftover ends the server that an earlier owner, killed, left running on our data,
// and removes a pid file whose process is gone or is something else. We hold the lock of
// the folder, so no living tiergate owns either.
func (c *Cluster) clearLeftover(ctx context.Context) error {
	path := filepath.Join(c.place.data, "postmaster.pid")
	f := readPidFile(c.place.data)
	if f.pid == 0 || !isServerOf(ctx, f.pid, c.place.data) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove a stale pid file: %w", err)
		}
		return nil
	}
	c.log.Warn("stopping a postgres that an earlier process left running", "pid", f.pid, "data", c.place.data)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		if err := syscall.Kill(f.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the Postgres that was left running as process %d: %w", f.pid, err)
		}
		if waitGone(ctx, f.pid, c.place.data) {
			return nil
		}
	}
	return fmt.Errorf("the Postgres that was left running as process %d does not stop; stop it by hand", f.pid)
}

// waitGone waits until a process is no server on the data any more. It may still be there
// as a zombie, where nobody collects orphans.
func waitGone(ctx context.Context, pid int, data string) bool {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || !isServerOf(ctx, pid, data) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// isServerOf reports whether a process is a server on that data: its command line, as we
// wrote it, names both.
func isServerOf(ctx context.Context, pid int, data string) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	text := strings.ReplaceAll(string(line), "\x00", " ")
	if err != nil {
		out, err := exec.CommandContext(ctx, "ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
		if err != nil {
			return false
		}
		text = string(out)
	}
	return strings.Contains(text, "postgres") && strings.Contains(text, "-D "+data+" ")
}
