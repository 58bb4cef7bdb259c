package syncer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// A step is called before each change of the disk; its error ends what was going on right
// there, as a crash would. It is how tests crash us at any point.
type step func(name string) error

func noStep(string) error { return nil }

// openOwn opens a file for reading if it is a regular file of ours, no symbolic link, and
// has none of the forbidden mode bits.
func openOwn(path string, forbidden fs.FileMode) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, 0, errors.New("it is a symbolic link")
	}
	if err != nil {
		return nil, 0, err
	}
	size, err := checkOwn(f, forbidden)
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

func checkOwn(f *os.File, forbidden fs.FileMode) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, errors.New("it is not a regular file")
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return 0, fmt.Errorf("it belongs to user %d, and we are %d", st.Uid, os.Geteuid())
	}
	if info.Mode().Perm()&forbidden != 0 {
		return 0, fmt.Errorf("its mode %04o lets others at it", info.Mode().Perm())
	}
	return info.Size(), nil
}

// replaceFile writes a file of mode 0600 aside, makes it durable, and puts it in the place
// of path in one step: whoever opens path finds the old or the new content.
func replaceFile(path string, write func(io.Writer) error, before step) error {
	aside := path + ".new"
	if err := writeAside(aside, write, before); err != nil {
		if before("discard") == nil {
			_ = os.Remove(aside)
		}
		return err
	}
	if err := before("rename"); err != nil {
		return err
	}
	if err := os.Rename(aside, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path), before)
}

func writeAside(aside string, write func(io.Writer) error, before step) error {
	if err := before("create"); err != nil {
		return err
	}
	_ = os.Remove(aside) // what a crash left behind
	f, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := before("write"); err != nil {
		return err
	}
	if err := write(f); err != nil {
		return err
	}
	if err := before("sync"); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// syncDir makes renames and new names in a directory durable.
func syncDir(dir string, before step) error {
	if err := before("sync directory"); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// lockDir makes the directory ours until the returned file is closed.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, errors.New("another process uses it")
	}
	return f, nil
}
