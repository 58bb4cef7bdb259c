package spool

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// FS is what the log needs of a file system. Names are paths. A name that was created,
// renamed or removed is durable after SyncDir of its folder, the content of a file after its
// Sync, and nothing before. Safe for concurrent use.
type FS interface {
	// Open opens a file; flag is as of os.OpenFile. Files are for their owner only.
	Open(name string, flag int) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	MkdirAll(dir string) error
	// List returns the names in a folder, without its path.
	List(dir string) ([]string, error)
	SyncDir(dir string) error
	// Lock makes a name ours until it is closed, or the process ends. Another's is ErrLocked.
	Lock(name string) (io.Closer, error)
}

// A File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes content and size durable. After an error nobody knows what is.
	Sync() error
	// Allocate makes the file as long as size and takes the room from the disk at once.
	Allocate(size int64) error
	Truncate(size int64) error
	// Stat returns the size, and the file's number in the file system.
	Stat() (size int64, inode uint64, err error)
}

// ErrLocked says that another process uses the folder.
var ErrLocked = errors.New("another process uses it")

// disk is the real file system.
type disk struct{}

func (disk) Open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (disk) Rename(from, to string) error { return os.Rename(from, to) }
func (disk) Remove(name string) error     { return os.Remove(name) }
func (disk) MkdirAll(dir string) error    { return os.MkdirAll(dir, 0o700) }

func (disk) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (disk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (disk) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

type diskFile struct{ *os.File }

func (f diskFile) Stat() (int64, uint64, error) {
	info, err := f.File.Stat()
	if err != nil {
		return 0, 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, errors.New("the file system does not number its files")
	}
	return info.Size(), stat.Ino, nil
}

// zero is the way to allocate that every file system has.
func (f diskFile) zero(size int64) error {
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a small file aside and puts it in the place of name in one step. What content
// returns may depend on the new file's inode.
func replace(fs FS, name string, content func(inode uint64) []byte) error {
	aside := name + asideSuffix
	if err := fs.Remove(aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := fs.Open(aside, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	if err := errors.Join(fill(f, content), f.Close()); err != nil {
		_ = fs.Remove(aside)
		return err
	}
	if err := fs.Rename(aside, name); err != nil {
		return err
	}
	return fs.SyncDir(filepath.Dir(name))
}

func fill(f File, content func(inode uint64) []byte) error {
	_, inode, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(content(inode), 0); err != nil {
		return err
	}
	return f.Sync()
}

// readAll reads a file, at most limit bytes of it, with its inode. What it could read comes
// with the error.
func readAll(fs FS, name string, limit int64, into []byte) (data []byte, inode uint64, err error) {
	f, err := fs.Open(name, os.O_RDONLY)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	size, inode, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	size = min(size, limit)
	if int64(cap(into)) < size {
		into = make([]byte, size)
	}
	n, err := f.ReadAt(into[:size], 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return into[:n], inode, err
}
