package spool

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Recovery says what Open found.
type Recovery struct {
	// Copied says that the folder is a copy, or was put back from a backup: another process
	// may go on from the same place. It is said until Adopt or Renew.
	Copied bool
	// Torn is how many bytes were cut from the end: a group of records that was being
	// written, and that nobody was told of.
	Torn int64
	// Quarantined are the segments that do not read, or not wholly, by file name.
	Quarantined []string
	// Behind is how many records are missing at the end that were known to be durable. Damage
	// to what became durable after the last Advance or Close cannot be told from a torn end.
	Behind int64
	// CursorLost says that the cursor did not read, and is at the beginning of the log. The
	// ledger knows how far it has counted: see Rewind.
	CursorLost bool
}

const (
	segmentSuffix  = ".log"
	quarantineName = "quarantine"
	lockName       = "lock"
)

func segmentName(first int64) string { return fmt.Sprintf("%019d%s", first, segmentSuffix) }

// segmentNumber is the number of the first record in a segment with this file name.
func segmentNumber(name string) (int64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	first, err := strconv.ParseInt(digits, 10, 64)
	return first, ok && err == nil && segmentName(first) == name
}

// Open opens the log in a folder, which no other process may use before Close, and puts in
// order what a crash left behind. It needs room for a segment on the disk. After an error
// the folder holds all that it held.
func Open(o Options) (*Log, error) {
	l, err := open(o)
	if err != nil {
		return nil, err
	}
	go l.run()
	return l, nil
}

// open is Open without the writer's goroutine.
func open(o Options) (*Log, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	l := &Log{
		o: o, wake: make(chan struct{}, 1), news: make(chan struct{}, 1),
		closing: make(chan struct{}), stopped: make(chan struct{}),
	}
	if err := o.FS.MkdirAll(l.quarantine()); err != nil {
		return nil, fmt.Errorf("usage log: %w", err)
	}
	lock, err := o.FS.Lock(filepath.Join(o.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("usage log %s: %w", o.Dir, err)
	}
	l.lock = lock
	if err := l.recover(); err != nil {
		l.retire(false)
		return nil, errors.Join(fmt.Errorf("usage log %s: %w", o.Dir, err), lock.Close())
	}
	return l, nil
}

func (l *Log) quarantine() string { return filepath.Join(l.o.Dir, quarantineName) }

func (l *Log) recover() error {
	files, err := l.list()
	if err != nil {
		return err
	}
	if err := l.identify(files); err != nil {
		return err
	}
	known, err := readPosition(l.o.FS, l.o.Dir, l.state.id)
	if err != nil && !isDamage(err) {
		return fmt.Errorf("cursor: %w", err)
	}
	l.found.CursorLost = err != nil
	r := &reader{log: l}
	if err := r.load(files); err != nil {
		return err
	}
	r.compare(known)
	l.state.cursor, l.at, l.ahead = known.cursor, place{mark: known.cursor}, place{mark: known.cursor}
	l.writer.next, l.writer.chain, l.state.end = r.next, newChain(r.next.hash), r.next
	if err := r.secure(); err != nil {
		return err
	}
	l.tidy(r)
	return nil
}

// A file is a segment as it lies in the folder.
type file struct {
	name  string
	first int64
	size  int64
	head  header
	seed  uint32
	whole bool // the header reads
}

// list returns the segments in the folder, the oldest first, and removes what was begun
// aside.
func (l *Log) list() ([]file, error) {
	names, err := l.o.FS.List(l.o.Dir)
	if err != nil {
		return nil, err
	}
	var files []file
	for _, name := range names {
		if strings.HasSuffix(name, asideSuffix) {
			_ = l.o.FS.Remove(filepath.Join(l.o.Dir, name)) // it is replaced anyway
		}
		first, ok := segmentNumber(name)
		if !ok {
			continue
		}
		f, err := l.inspect(name, first)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b file) int { return int(min(1, max(-1, a.first-b.first))) })
	return files, nil
}

func (l *Log) inspect(name string, first int64) (file, error) {
	f := file{name: name, first: first}
	in, err := l.o.FS.Open(filepath.Join(l.o.Dir, name), os.O_RDONLY)
	if err != nil {
		return f, err
	}
	defer in.Close()
	if f.size, _, err = in.Stat(); err != nil {
		return f, err
	}
	sector := make([]byte, headerSize)
	if _, err := in.ReadAt(sector, 0); err != nil && !isDamage(err) {
		return f, err
	} else if err == nil {
		f.head, f.seed, f.whole = decodeHeader(sector)
		f.whole = f.whole && f.head.start.number == first
	}
	return f, nil
}

// identify finds out which log the folder holds. One that cannot tell any more, but has
// segments, is theirs, and may be a copy.
func (l *Log) identify(files []file) error {
	id, err := readIdentity(l.o.FS, l.o.Dir)
	if err == nil {
		l.state.id, l.found.Copied = id.log, id.copied
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) && !isDamage(err) {
		return fmt.Errorf("identity: %w", err)
	}
	l.state.id = newUUID()
	for _, f := range files {
		if f.whole {
			l.state.id, l.found.Copied = f.head.log, true
		}
	}
	if l.found.Copied {
		return nil // it stays so until Adopt or Renew
	}
	if err := writeIdentity(l.o.FS, l.o.Dir, l.state.id); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	return l.syncParent()
}

// syncParent makes the folder itself durable, where we may.
func (l *Log) syncParent() error {
	err := l.o.FS.SyncDir(filepath.Dir(l.o.Dir))
	if errors.Is(err, os.ErrPermission) {
		return nil
	}
	return err
}

// isDamage says that an error is about what the disk holds.
func isDamage(err error) bool {
	return errors.Is(err, errPaper) || errors.Is(err, syscall.EIO) || isShort(err)
}

// reader is what reads the segments at Open.
type reader struct {
	log    *Log
	buffer []byte

	end     mark     // where the log ends
	next    mark     // where the tail begins, or the end
	tail    []byte   // the records of the last group, of which nobody knows that they are durable
	damaged bool     // the end is
	spoiled []file   // to be moved away: nothing in them reads
	foreign []file   // to be moved away: they are another log's
	last    *segment // the last one, when it is not damaged
}

// load reads all segments.
func (r *reader) load(files []file) error {
	for i := range files {
		if files[i].whole && files[i].head.log != r.log.state.id {
			r.foreign = append(r.foreign, files[i])
		}
	}
	files = slices.DeleteFunc(files, func(f file) bool { return f.whole && f.head.log != r.log.state.id })
	for i, f := range files {
		limit, last := int64(math.MaxInt64), i == len(files)-1
		if !last {
			limit = files[i+1].first
		}
		if !f.whole {
			r.spoil(f, last)
			continue
		}
		if err := r.segment(f, limit, last); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// spoil notes a segment of which nothing reads. The numbers that it may have held are not
// used again.
func (r *reader) spoil(f file, last bool) {
	r.spoiled = append(r.spoiled, f)
	r.log.found.Quarantined = append(r.log.found.Quarantined, f.name)
	if last {
		most := f.first + max(f.size, r.log.o.SegmentBytes)/recordHead + 1
		r.damage(digest{}.lost(most))
	}
}

// damage notes that the end does not read, and where the log goes on.
func (r *reader) damage(next mark) { r.next, r.end, r.damaged = next, next, true }

// segment reads one segment, up to where the next begins.
func (r *reader) segment(f file, limit int64, last bool) error {
	path := filepath.Join(r.log.o.Dir, f.name)
	data, _, err := readAll(r.log.o.FS, path, math.MaxInt64, r.buffer)
	if err != nil && !isDamage(err) {
		return err
	}
	r.buffer = data
	s := scan(data, f.head, f.seed, limit, last)
	seg := &segment{path: path, head: f.head, seed: f.seed, size: f.size, end: s.end, used: s.used}
	seg.damaged = s.later > 0 || !last && s.end < limit
	r.log.state.segments = append(r.log.state.segments, seg)
	if seg.damaged {
		r.log.found.Quarantined = append(r.log.found.Quarantined, f.name)
	}
	if !last {
		return nil
	}
	r.finish(seg, data, s)
	return nil
}

// finish finds the end of the log in its last segment.
func (r *reader) finish(seg *segment, data []byte, s scanned) {
	c, at := newChain(seg.head.start.hash), int64(headerSize)
	before, group, from := c.at, int64(-1), at
	for at < s.used {
		rec := data[at : at+int64(sizeOf(data[at:]))]
		if g := groupOf(rec); g != group {
			before, group, from = c.at, g, at
		}
		c.add(rec)
		at += int64(len(rec))
	}
	if seg.damaged {
		r.damage(c.at.lost(s.later))
		return
	}
	r.end = mark{number: s.end, hash: c.at, lost: s.end == seg.head.start.number && seg.head.start.lost}
	r.next = r.end
	r.log.found.Torn, r.last = s.torn, seg
	if group >= 0 {
		r.tail = slices.Clone(data[from:s.used])
		r.next = mark{number: group, hash: before, lost: group == seg.head.start.number && seg.head.start.lost}
	}
}

// compare compares the end with what was known of it.
func (r *reader) compare(known position) {
	missing := known.end - r.end.number
	if missing <= 0 {
		return
	}
	r.log.found.Behind = missing
	if r.last != nil {
		r.last.damaged = true
		r.log.found.Quarantined = append(r.log.found.Quarantined, filepath.Base(r.last.path))
	}
	next := r.end.hash.lost(known.end)
	if known.cursor.number == known.end {
		next = known.cursor
	}
	r.damage(next)
	r.tail, r.last = nil, nil
}

// secure makes durable what was read. All groups but the last are: it was written after them.
// The last may be in the kernel's memory only, and a failed fsync of before may have made it
// look clean, so it is written again. After damage at the end, a new segment says where the
// log goes on.
func (r *reader) secure() error {
	l := r.log
	switch {
	case len(r.tail) > 0:
		r.last.end, r.last.used = r.next.number, r.last.used-int64(len(r.tail))
	case !r.damaged:
		return l.o.FS.SyncDir(l.o.Dir)
	}
	l.state.inflight = int64(len(r.tail))
	_, _, err := l.begin(r.tail, len(r.tail))
	return err
}

// tidy moves away what nobody reads, once all else is durable, and gives back room. What
// does not succeed is done at the next Open.
func (l *Log) tidy(r *reader) {
	for _, f := range r.spoiled {
		l.setAside(f.name, l.state.id)
	}
	for _, f := range r.foreign {
		l.setAside(f.name, f.head.log)
	}
	if slices.Contains(l.state.segments, r.last) {
		l.shorten(r.last)
	}
	l.mu.Lock()
	l.state.stats.Quarantined = int64(len(l.found.Quarantined) + len(r.foreign))
	l.state.account(l.o.Now())
	l.mu.Unlock()
	if len(l.found.Quarantined) > 0 {
		l.o.Log.Error("segments of the usage log are damaged", "dir", l.o.Dir, "segments", l.found.Quarantined)
	}
}
