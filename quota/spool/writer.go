package spool

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// writer is what only the holder of Log.writing touches.
type writer struct {
	file  File     // the active segment's; nil when the next record begins a new segment
	seg   *segment // the active one
	next  mark     // what comes next
	doubt bool     // the identity on the disk may be another
	chain chain
}

// run writes what gathers until the log is closed.
func (l *Log) run() {
	defer close(l.stopped)
	for {
		var retry <-chan time.Time
		if l.troubled() {
			retry = time.After(retryEvery)
		}
		select {
		case <-l.wake:
		case <-retry:
		case <-l.closing:
			for l.turn() {
			}
			return
		}
		// Others that are ready to run may have records as well: one more turn of the
		// scheduler makes the groups larger.
		runtime.Gosched()
		l.turn()
		l.noteAgain()
	}
}

// turn writes what has gathered, and says whether there was anything. In a log that is broken
// it tries whether the disk takes a segment again.
func (l *Log) turn() bool {
	l.writing.Lock()
	defer l.writing.Unlock()
	g, queue := l.take()
	if g == nil {
		if l.brokenness() != nil {
			l.mend()
		}
		return false
	}
	l.write(g, queue)
	l.settle(g, queue)
	close(g.done)
	signal(l.news)
	return true
}

// take takes the queue from those who append, and gives them the spare one.
func (l *Log) take() (*group, []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.state
	g, queue := s.group, s.queue
	if g != nil {
		s.group, s.queue, s.spare = nil, s.spare[:0], nil
		s.inflight = int64(len(queue))
	}
	return g, queue
}

// settle keeps count of what became of a group.
func (l *Log) settle(g *group, queue []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.state
	s.inflight, s.spare = 0, queue
	s.stats.Appended += int64(g.failed)
	if g.err != nil {
		s.stats.Rejected += int64(g.records - g.failed)
	}
}

// write makes a group's records durable, in one step or, when they do not fit into the segment,
// in some. The group hears how many are, and why not all.
func (l *Log) write(g *group, queue []byte) {
	if err := l.certify(); err != nil {
		g.err, g.unwritten = l.breakDown(err), true
		return
	}
	for len(queue) > 0 {
		n, bytes, spoiled := l.extend(queue)
		if spoiled != nil { // the segment is not to be trusted any more
			l.retire(false)
			l.report("the usage log goes on in a new segment", spoiled)
		}
		if n == 0 { // that is tried once
			l.retire(true)
			var err error
			if n, bytes, err = l.begin(queue, sizeOf(queue)); err != nil {
				g.err, g.unwritten = l.breakDown(err), spoiled == nil && !errors.Is(err, errDoubt)
				return
			}
		}
		g.failed += n
		queue = queue[bytes:]
	}
	l.mended()
}

// extend appends those records of a queue for which the active segment has room, and makes
// them durable. It returns how many, and their bytes.
func (l *Log) extend(queue []byte) (records, bytes int, err error) {
	w := &l.writer
	if w.file == nil {
		return 0, 0, nil
	}
	chunk := l.seal(w.seg, queue)
	if chunk.records == 0 {
		return 0, 0, nil
	}
	if _, err := w.file.WriteAt(chunk.data, w.seg.used); err != nil {
		return 0, 0, fmt.Errorf("write %s: %w", w.seg.path, err)
	}
	if err := w.file.Sync(); err != nil {
		return 0, 0, fmt.Errorf("sync %s: %w", w.seg.path, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.publish(chunk)
	return chunk.records, len(chunk.data), nil
}

// A chunk is records that are ready for a segment.
type chunk struct {
	data    []byte
	records int
	next    mark // the place after them
}

// seal completes the records at the front of a queue for which a segment has room.
func (l *Log) seal(seg *segment, queue []byte) chunk {
	w := &l.writer
	room, now := seg.size-seg.used, max(1, l.o.Now().UnixNano())
	c := chunk{next: w.next}
	w.chain.at = w.next.hash
	at := 0
	for at < len(queue) {
		size := sizeOf(queue[at:])
		if int64(at+size) > room {
			break
		}
		rec := queue[at : at+size]
		seal(rec, seg.seed, c.next.number, now, uint32(c.records))
		w.chain.add(rec)
		c.records++
		c.next.number++
		c.next.lost = false
		at += size
	}
	c.next.hash = w.chain.at
	c.data = queue[:at]
	return c
}

// publish lets everybody know what became durable in the active segment. It needs mu.
func (l *Log) publish(c chunk) {
	s, w := &l.state, &l.writer
	w.next = c.next
	w.seg.end = c.next.number
	w.seg.used += int64(len(c.data))
	s.end = c.next
	s.held += int64(len(c.data))
	s.inflight -= int64(len(c.data))
	s.stats.Syncs++
}

// begin makes a new segment the active one, with as many records of the queue as it has room
// for; it has room for least bytes of records. Its name becomes durable after its content: a segment that is found
// is whole, and when it replaces one of the same number nothing is missing in between.
func (l *Log) begin(queue []byte, least int) (records, bytes int, err error) {
	w := &l.writer
	head := header{log: l.state.id, start: w.next}
	_, _ = rand.Read(head.salt[:]) // never fails
	seg := &segment{
		path: filepath.Join(l.o.Dir, segmentName(head.start.number)), head: head,
		size: max(l.o.SegmentBytes, headerSize+int64(least)), end: head.start.number, used: headerSize, active: true,
	}
	var sector []byte
	sector, seg.seed = head.encode()
	c := l.seal(seg, queue)
	file, err := l.create(seg, sector, c.data)
	if err != nil {
		return 0, 0, fmt.Errorf("make a segment in %s: %w", l.o.Dir, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w.file, w.seg = file, seg
	s := &l.state
	if n := len(s.segments); n > 0 && s.segments[n-1].head.start.number == head.start.number {
		s.segments = s.segments[:n-1] // all that it held is in the new one
	}
	s.segments = append(s.segments, seg)
	s.account(l.o.Now())
	l.publish(c)
	return c.records, len(c.data), nil
}

func (l *Log) create(seg *segment, sector, data []byte) (File, error) {
	fs, aside := l.o.FS, filepath.Join(l.o.Dir, "segment"+asideSuffix)
	// A file whose fsync failed is not used again.
	if err := fs.Remove(aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	file, err := fs.Open(aside, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	if err := l.establish(file, seg, sector, data, aside); err != nil {
		_ = file.Close()
		_ = fs.Remove(aside)
		return nil, err
	}
	return file, nil
}

func (l *Log) establish(file File, seg *segment, sector, data []byte, aside string) error {
	if err := file.Allocate(seg.size); err != nil {
		return err
	}
	if _, err := file.WriteAt(sector, 0); err != nil {
		return err
	}
	if _, err := file.WriteAt(data, headerSize); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := l.o.FS.Rename(aside, seg.path); err != nil {
		return fmt.Errorf("%w, %w", err, errDoubt)
	}
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return fmt.Errorf("%w, %w", err, errDoubt)
	}
	return nil
}

// errDoubt is in the chain of the error of a segment that may be there all the same.
var errDoubt = errors.New("and nobody knows whether it is there")

// retire ends the active segment: nothing is written to it any more. One that is whole gives
// back the room that it does not use.
func (l *Log) retire(whole bool) {
	w := &l.writer
	if w.file == nil {
		return
	}
	if whole {
		_ = w.file.Truncate(w.seg.used) // for the room only
	}
	_ = w.file.Close() // nothing hangs on it: what is durable is synced
	l.mu.Lock()
	w.seg.active = false
	l.state.account(l.o.Now())
	l.mu.Unlock()
	w.file, w.seg = nil, nil
}

// breakDown makes the log refuse records until mended.
func (l *Log) breakDown(cause error) error {
	err := fmt.Errorf("%w: %w", ErrBroken, cause)
	l.mu.Lock()
	l.state.broken = err
	l.mu.Unlock()
	l.report("the usage log takes no records", cause)
	return err
}

// mend tries whether the disk takes a new segment.
func (l *Log) mend() {
	err := l.certify()
	if err == nil {
		_, _, err = l.begin(nil, 0)
	}
	if err != nil {
		l.remember(err)
		return
	}
	l.mended()
}

// certify writes the identity again when nobody knows which one is on the disk.
func (l *Log) certify() error {
	if !l.writer.doubt {
		return nil
	}
	if err := writeIdentity(l.o.FS, l.o.Dir, l.state.id); err != nil {
		return fmt.Errorf("write the identity: %w", err)
	}
	l.writer.doubt = false
	return nil
}

func (l *Log) mended() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.broken != nil {
		l.state.broken = nil
		l.o.Log.Info("the usage log takes records again")
	}
}

func (l *Log) report(what string, cause error) {
	l.remember(cause)
	l.o.Log.Error(what, "dir", l.o.Dir, "error", cause)
}

func (l *Log) remember(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.stats.LastError = err
}
