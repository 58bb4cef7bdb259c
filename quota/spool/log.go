package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// Options are what a log needs to know.
type Options struct {
	Dir          string // the folder, which is made when it is not there
	FS           FS     // nil is the real file system
	SegmentBytes int64  // of one segment; 0 is 16 MiB, at most half of MaxBytes
	// MaxBytes is how much may wait for the ledger; more is refused with ErrFull. 0 is 1 GiB.
	// The disk holds at most twice as much: as much again, of what the ledger has, is kept
	// for Keep.
	MaxBytes int64
	// Keep is for how long segments are kept that the ledger has, for one that loses its
	// newest history; 0 is 10 minutes, and less is not at all.
	Keep time.Duration
	Log  *slog.Logger     // nil is none
	Now  func() time.Time // nil is time.Now
}

// The errors of a log. They come wrapped with the cause, where there is one.
var (
	// ErrFull refuses a record while MaxBytes wait for the ledger, or the disk is far behind.
	ErrFull = errors.New("the usage log is full")
	// ErrBroken refuses records that the disk did not take. It is over when it takes some again.
	ErrBroken = errors.New("the disk does not take the usage log")
	// ErrTooLarge refuses a payload of more than MaxPayload.
	ErrTooLarge = errors.New("the usage record is larger than 64 KiB")
	// ErrClosed is the answer to everything after Close.
	ErrClosed = errors.New("the usage log is closed")
	// ErrHistory says that the log never had this hash at this place, or never had the place.
	ErrHistory = errors.New("the usage log has another history")
	// ErrNotKept says that the place is older than what is kept.
	ErrNotKept = errors.New("the usage log does not go back so far")
)

const (
	minSegment = 1024
	// maxQueue bounds what waits for the disk.
	maxQueue = 8 << 20
	// retryEvery is how often a log that the disk did not take tries again.
	retryEvery = 200 * time.Millisecond
)

func (o *Options) complete() error {
	if o.FS == nil {
		o.FS = disk{}
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = min(16<<20, o.MaxBytes/2)
	}
	if o.Keep == 0 {
		o.Keep = 10 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	switch {
	case o.Dir == "":
		return errors.New("the usage log needs a folder")
	case o.SegmentBytes < minSegment || o.SegmentBytes > o.MaxBytes/2:
		return fmt.Errorf("a segment of %d bytes is not between %d and half of %d", o.SegmentBytes, minSegment, o.MaxBytes)
	}
	return nil
}

// A Log is an open usage log. Safe for concurrent use: any number may Append and Wait; of
// Read, Advance, Rewind and Renew one works at a time.
type Log struct {
	o     Options
	lock  io.Closer
	found Recovery

	// The locks, in the order in which they are taken.
	reading sync.Mutex // over at, ahead and open: what reads, and moves the cursor
	writing sync.Mutex // over writer: what changes segments on the disk
	mu      sync.Mutex // over state

	at     place // where the cursor is
	ahead  place // where the last Read ended
	open   opened
	writer writer
	state  state

	wake    chan struct{} // there is something to write
	news    chan struct{} // there is something to read
	closing chan struct{}
	stopped chan struct{}
}

// state is what all share. Nobody holds its lock while the disk works.
type state struct {
	id       [16]byte
	queue    []byte // records that wait for the writer
	spare    []byte // the queue of before, to be used again
	group    *group // of the queue; nil when that is empty
	inflight int64  // bytes that are being written
	held     int64  // bytes of segments that the ledger does not have
	segments []*segment
	end      mark // of what is durable
	cursor   mark // of what the ledger has
	broken   error
	unnoted  error // why the cursor on the disk may be behind; nil when it is not
	closed   bool
	stats    Stats
}

// A segment is one file of records. What state.mu guards changes; the rest does not.
type segment struct {
	path string
	head header
	seed uint32
	size int64 // on the disk

	end     int64     // state.mu: one past its last durable record that reads
	used    int64     // state.mu: where that ends
	active  bool      // state.mu: the writer appends to it
	damaged bool      // state.mu: it goes to the quarantine when nobody needs it
	doneAt  time.Time // state.mu: since when the ledger has all of it
}

// A group is records that become durable together.
type group struct {
	done    chan struct{}
	records int
	// After done is closed: err is what became of the records from failed on, and unwritten says
	// that nothing of these is on the disk.
	err       error
	failed    int
	unwritten bool
}

// A Ticket stands for one record on its way to the disk.
type Ticket struct {
	group *group
	place int
}

// Wait returns when the record is durable, or why it is not: ErrBroken, or ctx's error, and
// then it may yet become so.
func (t Ticket) Wait(ctx context.Context) error {
	select {
	case <-t.group.done:
	default:
		select {
		case <-t.group.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if t.group.err != nil && t.place >= t.group.failed {
		return t.group.err
	}
	return nil
}

// Unwritten says, after Wait returned ErrBroken, that nothing of the record is on the disk. When it
// is false the record may come back after a crash.
func (t Ticket) Unwritten() bool { return t.group.unwritten }

// Append gives a record to the writer and does not wait for the disk: see Ticket.Wait. The
// payload is copied. What is refused is not in the log.
func (l *Log) Append(id [16]byte, payload []byte) (Ticket, error) {
	if len(payload) > MaxPayload {
		return Ticket{}, ErrTooLarge
	}
	l.mu.Lock()
	s := &l.state
	if err := s.refuses(int64(recordHead+len(payload)), l.o.MaxBytes); err != nil {
		if !s.closed {
			s.stats.Rejected++
		}
		l.mu.Unlock()
		return Ticket{}, err
	}
	first := s.group == nil
	if first {
		s.group = &group{done: make(chan struct{})}
	}
	t := Ticket{group: s.group, place: s.group.records}
	s.queue = gather(s.queue, id, payload)
	s.group.records++
	l.mu.Unlock()
	if first {
		signal(l.wake)
	}
	return t, nil
}

// Refuses says why Append would refuse even a small record at this moment, and nil when it would
// not, as far as is known before the disk is asked.
func (l *Log) Refuses() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.refuses(recordHead, l.o.MaxBytes)
}

// refuses says why a record of that many bytes is not taken.
func (s *state) refuses(size, most int64) error {
	queued := int64(len(s.queue)) + s.inflight
	switch {
	case s.closed:
		return ErrClosed
	case s.broken != nil:
		return s.broken
	case s.held+queued+size > most || queued+size > maxQueue:
		return ErrFull
	}
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// ID is the log's identity, a UUID. It changes with Renew only.
func (l *Log) ID() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return formatUUID(l.state.id)
}

// Recovery says what Open found.
func (l *Log) Recovery() Recovery { return l.found }

// Close makes durable what has been appended, and gives the folder up.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.state.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.state.closed = true
	l.mu.Unlock()
	close(l.closing)
	<-l.stopped
	l.reading.Lock()
	defer l.reading.Unlock()
	l.writing.Lock()
	defer l.writing.Unlock()
	l.retire(true)
	l.open.close()
	_ = l.record(l.at.mark) // the ledger knows where it is; so damage to the end shows at the next Open
	return errors.Join(l.brokenness(), l.lock.Close())
}

func (l *Log) brokenness() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.broken
}

// troubled says whether there is something that the disk did not take, to be tried again.
func (l *Log) troubled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.trouble() != nil
}

// trouble is what the disk does not take: records, which is worse, or the cursor.
func (s *state) trouble() error { return cmp.Or(s.broken, s.unnoted) }
