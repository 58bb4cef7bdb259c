package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// maxSocketPath is what fits into a socket address on Linux and macOS, the trailing zero
// left out.
const maxSocketPath = 103

// listenUnix binds inside a folder that only we can enter, sets the mode, and then moves
// the socket to its place: nobody can connect before the mode holds, and a stale socket is
// replaced in one step.
func listenUnix(path string, opts Options) (net.Listener, error) {
	if len(path) == 0 || len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket path %q of %s has %d bytes: a path has 1 to %d", path, opts.flag(), len(path), maxSocketPath)
	}
	if err := stale(path, opts); err != nil {
		return nil, err
	}
	room, err := os.MkdirTemp(filepath.Dir(path), ".")
	if err != nil {
		return nil, fmt.Errorf("listen on unix:%s (%s): %w", path, opts.flag(), err)
	}
	defer func() { _ = os.RemoveAll(room) }()
	hidden := filepath.Join(room, "s")
	if len(hidden) > maxSocketPath {
		return nil, fmt.Errorf("socket path %q of %s is in a folder whose path is too long: choose a shorter one", path, opts.flag())
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: hidden, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on unix:%s (%s): %w", path, opts.flag(), err)
	}
	ln.SetUnlinkOnClose(false)
	mode := opts.UnixMode
	if mode == 0 {
		mode = 0o600
	}
	if err := errors.Join(os.Chmod(hidden, mode), os.Rename(hidden, path)); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("listen on unix:%s (%s): %w", path, opts.flag(), err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("listen on unix:%s (%s): %w", path, opts.flag(), err)
	}
	return listener{Listener: &unixListener{UnixListener: ln, path: path, info: info}, timeouts: opts.Timeouts}, nil
}

// stale returns an error unless path is free or holds a socket on which nobody listens.
func stale(path string, opts Options) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("listen on unix:%s (%s): %w", path, opts.flag(), err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("socket path %s of %s is something else than a socket: move it away, or choose another path", path, opts.flag())
	}
	c, err := net.Dial("unix", path)
	switch {
	case err == nil:
		_ = c.Close()
		return fmt.Errorf("socket %s is in use by another program: stop that, or choose another path with %s", path, opts.flag())
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return fmt.Errorf("socket %s of %s may be in use: %w", path, opts.flag(), err)
}

// unixListener removes its socket when it closes, unless another program has replaced it.
type unixListener struct {
	*net.UnixListener
	path string
	info fs.FileInfo
}

// Addr returns the path under which clients find the socket.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

func (l *unixListener) Close() error {
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
		_ = os.Remove(l.path)
	}
	return l.UnixListener.Close()
}
