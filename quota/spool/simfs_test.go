package spool

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// errCrash is the answer to every call after a crash.
var errCrash = errors.New("the power is gone")

const sector = 512

// A simFS is a disk in memory. What processes see is live; what a power cut leaves is what
// was synced, and any part of the rest: sectors of unsynced writes one by one, unsynced names
// as a prefix or any subset of what was done.
type simFS struct {
	mu      sync.Mutex        // of all; the model looks without it while nothing runs
	names   map[string]*inode // live
	durable map[string]*inode
	pending []nameOp // done to names, and not yet synced
	locked  map[string]bool
	inodes  uint64

	ops      int // calls that change something
	crashAt  int // the call that does not happen any more; 0 is never
	dead     bool
	full     bool // no space left
	failSync int  // so many calls from now on fail
	stale    []byte
	fired    map[string]int // faults, by name
	trace    []string
	pick     *rand.Rand // for what a failed fsync leaves behind
}

// A nameOp is a change of names: from goes, to stands for the inode.
type nameOp struct {
	from, to string
	inode    *inode
}

// An inode is a file's content. versions are what was written to sectors since the last sync.
type inode struct {
	number   uint64
	live     []byte
	durable  []byte
	versions map[int64][][]byte
	sizes    []int // since the last sync
}

func newSimFS(seed uint64) *simFS {
	return &simFS{
		names: map[string]*inode{}, durable: map[string]*inode{}, locked: map[string]bool{},
		fired: map[string]int{}, pick: rand.New(rand.NewPCG(seed, 1)),
	}
}

// step counts a change, and says whether the power is gone.
func (s *simFS) step(what string, args ...any) error {
	if s.dead {
		return errCrash
	}
	s.ops++
	if s.ops == s.crashAt {
		s.dead = true
		s.fired["crash"]++
		return errCrash
	}
	s.trace = append(s.trace, fmt.Sprintf("%d "+what, append([]any{s.ops}, args...)...))
	return nil
}

func (s *simFS) change(op nameOp) {
	if op.from != "" && s.names[op.from] == op.inode {
		delete(s.names, op.from)
	}
	if op.to != "" {
		s.names[op.to] = op.inode
	}
	s.pending = append(s.pending, op)
}

func (s *simFS) Open(name string, flag int) (File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return nil, errCrash
	}
	node := s.names[name]
	switch {
	case node != nil && flag&os.O_EXCL != 0:
		return nil, os.ErrExist
	case node == nil && flag&os.O_CREATE == 0:
		return nil, os.ErrNotExist
	case node == nil:
		if err := s.step("create %s", filepath.Base(name)); err != nil {
			return nil, err
		}
		if s.full {
			s.fired["ENOSPC"]++
			return nil, syscall.ENOSPC
		}
		s.inodes++
		node = &inode{number: s.inodes, versions: map[int64][][]byte{}}
		s.change(nameOp{to: name, inode: node})
	}
	return &simFile{fs: s, node: node, name: filepath.Base(name)}, nil
}

func (s *simFS) Rename(from, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	node := s.names[from]
	if node == nil {
		return os.ErrNotExist
	}
	if err := s.step("rename %s %s", filepath.Base(from), filepath.Base(to)); err != nil {
		return err
	}
	s.change(nameOp{from: from, to: to, inode: node})
	return nil
}

func (s *simFS) Remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	node := s.names[name]
	if s.dead {
		return errCrash
	}
	if node == nil {
		return os.ErrNotExist
	}
	if err := s.step("remove %s", filepath.Base(name)); err != nil {
		return err
	}
	s.stale = slices.Clone(node.live)
	s.change(nameOp{from: name, inode: node})
	return nil
}

// MkdirAll does nothing: folders are there.
func (s *simFS) MkdirAll(string) error { return nil }

func (s *simFS) List(dir string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return nil, errCrash
	}
	var names []string
	for name := range s.names {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (s *simFS) SyncDir(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.step("sync folder %s", filepath.Base(dir)); err != nil {
		return err
	}
	if s.failing() {
		return syscall.EIO
	}
	s.pending = slices.DeleteFunc(s.pending, func(op nameOp) bool {
		in := op.from != "" && filepath.Dir(op.from) == dir || op.to != "" && filepath.Dir(op.to) == dir
		if in {
			apply(s.durable, op)
		}
		return in
	})
	return nil
}

func apply(names map[string]*inode, op nameOp) {
	if op.from != "" && names[op.from] == op.inode {
		delete(names, op.from)
	}
	if op.to != "" {
		names[op.to] = op.inode
	}
}

func (s *simFS) failing() bool {
	if s.failSync == 0 {
		return false
	}
	s.failSync--
	s.fired["EIO"]++
	return true
}

func (s *simFS) Lock(name string) (io.Closer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.locked[name] {
		return nil, ErrLocked
	}
	s.locked[name] = true
	return unlock(func() { delete(s.locked, name) }), nil
}

type unlock func()

func (u unlock) Close() error { u(); return nil }

type simFile struct {
	fs   *simFS
	node *inode
	name string
}

func (f *simFile) Close() error { return nil }

func (f *simFile) Stat() (int64, uint64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.node.live)), f.node.number, nil
}

func (f *simFile) ReadAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.dead {
		return 0, errCrash
	}
	if off >= int64(len(f.node.live)) {
		return 0, io.EOF
	}
	n := copy(b, f.node.live[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *simFile) WriteAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step("write %s %d+%d", f.name, off, len(b)); err != nil {
		return 0, err
	}
	if grow := off + int64(len(b)); grow > int64(len(f.node.live)) {
		if f.fs.full {
			f.fs.fired["ENOSPC"]++
			b = b[:len(b)/2] // some of it fits
			f.node.resize(off + int64(len(b)))
			f.node.write(b, off)
			return len(b), syscall.ENOSPC
		}
		f.node.resize(grow)
	}
	f.node.write(b, off)
	return len(b), nil
}

func (n *inode) resize(size int64) {
	if size <= int64(len(n.live)) {
		n.live = n.live[:size:size]
	} else {
		n.live = append(slices.Clip(n.live), make([]byte, size-int64(len(n.live)))...)
	}
	n.sizes = append(n.sizes, int(size))
}

func (n *inode) write(b []byte, off int64) {
	copy(n.live[off:], b)
	for at := off / sector; at*sector < off+int64(len(b)); at++ {
		n.versions[at] = append(n.versions[at], slices.Clone(n.live[at*sector:min((at+1)*sector, int64(len(n.live)))]))
	}
}

func (f *simFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step("sync %s", f.name); err != nil {
		return err
	}
	// As Linux does it: what could not be written looks clean from now on, and is not written
	// by the next sync either.
	failed, pick := f.fs.failing(), func(n int) int { return n - 1 }
	if failed {
		pick = f.fs.pick.IntN
	}
	f.node.durable = f.node.remains(pick)
	f.node.versions, f.node.sizes = map[int64][][]byte{}, nil
	if failed {
		return syscall.EIO
	}
	return nil
}

func (f *simFile) Allocate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step("allocate %s %d", f.name, size); err != nil {
		return err
	}
	if f.fs.full {
		f.fs.fired["ENOSPC"]++
		return syscall.ENOSPC
	}
	old := int64(len(f.node.live))
	f.node.resize(size)
	if int64(len(f.fs.stale)) > old { // a disk that does not clear what it gives out
		f.node.write(f.fs.stale[old:min(size, int64(len(f.fs.stale)))], old)
	}
	return nil
}

func (f *simFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step("truncate %s %d", f.name, size); err != nil {
		return err
	}
	f.node.resize(size)
	return nil
}

// remains is what is on the disk of an inode when some of what was not synced is: pick
// returns a number below n.
func (n *inode) remains(pick func(n int) int) []byte {
	content := slices.Clone(n.durable)
	if k := pick(len(n.sizes) + 1); k > 0 {
		size := n.sizes[k-1]
		if size <= len(content) {
			content = content[:size]
		} else {
			content = append(content, make([]byte, size-len(content))...)
		}
	}
	for _, at := range slices.Sorted(maps.Keys(n.versions)) {
		written := n.versions[at]
		if k := pick(len(written) + 1); k > 0 && at*sector < int64(len(content)) {
			copy(content[at*sector:], written[k-1])
		}
	}
	return content
}

// How much of what was not synced an image keeps.
const (
	keepNothing = iota
	keepAll
	keepSome
)

// cut returns the disk as a power cut leaves it.
func (s *simFS) cut(how int, rnd *rand.Rand) *simFS {
	pick := map[int]func(n int) int{
		keepNothing: func(int) int { return 0 },
		keepAll:     func(n int) int { return n - 1 },
		keepSome:    rnd.IntN,
	}[how]
	after := newSimFS(rnd.Uint64())
	after.inodes, after.stale = s.inodes, s.stale
	names := maps.Clone(s.durable)
	some, prefix := rnd.IntN(2) == 0, rnd.IntN(len(s.pending)+1)
	for i, op := range s.pending {
		switch {
		case how == keepAll, how == keepSome && some && rnd.IntN(2) == 0, how == keepSome && !some && i < prefix:
			apply(names, op)
		}
	}
	copies := map[*inode]*inode{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		node := names[name]
		if copies[node] == nil {
			content := node.remains(pick)
			copies[node] = &inode{number: node.number, live: content, durable: slices.Clone(content), versions: map[int64][][]byte{}}
		}
		after.names[name], after.durable[name] = copies[node], copies[node]
	}
	return after
}

// killed returns the disk as another process finds it after the one that used it was killed:
// nothing is lost, and nothing more is durable than was.
func (s *simFS) killed() *simFS {
	s.dead, s.crashAt, s.locked = false, 0, map[string]bool{}
	return s
}

// segments returns the paths of the segments, the oldest first.
func (s *simFS) segments() []string {
	var paths []string
	for name := range s.names {
		if _, ok := segmentNumber(filepath.Base(name)); ok && !strings.Contains(name, quarantineName) {
			paths = append(paths, name)
		}
	}
	slices.Sort(paths)
	return paths
}
