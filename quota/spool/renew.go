package spool

import (
	"fmt"
	"path/filepath"
	"time"
)

// Renew begins a new log in the folder, with a new ID and nothing in it, for when the ledger
// says that this one's history is not what it counted: a copied folder, or a ledger that lost
// more than is kept. Why goes into the alarm. All segments are set aside in the quarantine
// folder with the cursor; records that have not been written yet go into the new log. It is
// ErrFull while MaxBytes are in the quarantine: then somebody has to look. After any other
// error the log is as it was, and takes no records until the disk does; after a crash it may
// be a new one.
func (l *Log) Renew(why string) error {
	l.reading.Lock()
	defer l.reading.Unlock()
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if held, err := l.quarantined(); err != nil {
		return fmt.Errorf("renew the usage log: %w", err)
	} else if held > l.o.MaxBytes {
		return fmt.Errorf("renew the usage log: %w: its quarantine holds %d bytes", ErrFull, held)
	}
	id := newUUID()
	if err := writeIdentity(l.o.FS, l.o.Dir, id); err != nil {
		l.writer.doubt = true
		return fmt.Errorf("renew the usage log: %w", l.breakDown(err))
	}
	l.writer.doubt = false
	l.open.close()
	l.retire(true)
	l.mu.Lock()
	s := &l.state
	old, segments, waiting := s.id, s.segments, s.end.number-s.cursor.number
	s.id, s.segments, s.end, s.cursor, s.held, s.unnoted = id, nil, mark{}, mark{}, 0, nil
	s.stats.Quarantined += int64(len(segments))
	l.mu.Unlock()
	l.at, l.ahead = place{}, place{}
	l.writer.next, l.writer.chain = mark{}, newChain(digest{})
	// What is not moved now is at the next Open: it is another log's by then.
	for _, seg := range segments {
		l.setAside(filepath.Base(seg.path), old)
	}
	l.setAside(cursorName, old)
	l.o.Log.Error("the usage log begins anew: records were set aside",
		"dir", l.o.Dir, "why", why, "records", waiting, "old", formatUUID(old), "new", formatUUID(id))
	return nil
}

// Adopt makes a folder that was copied, or put back, the log's own: the next Open does not say
// Copied. It is for after what depends on that has been given up. Without a copy it does
// nothing that shows.
func (l *Log) Adopt() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if err := writeIdentity(l.o.FS, l.o.Dir, l.state.id); err != nil {
		return fmt.Errorf("adopt the usage log: %w", err)
	}
	l.writer.doubt = false
	return nil
}

// quarantined is how many bytes are in the quarantine.
func (l *Log) quarantined() (bytes int64, err error) {
	names, err := l.o.FS.List(l.quarantine())
	for _, name := range names {
		f, err := l.o.FS.Open(filepath.Join(l.quarantine(), name), 0)
		if err != nil {
			return 0, err
		}
		size, _, err := f.Stat()
		_ = f.Close() // it was not even read
		if err != nil {
			return 0, err
		}
		bytes += size
	}
	return bytes, err
}

// Stats are figures of a log.
type Stats struct {
	Records     int64         // that wait for the ledger, with those that are lost
	Bytes       int64         // of records that wait for the ledger or, as yet, for the disk
	Oldest      time.Duration // the age of the oldest record that waits; 0 when none does
	Appended    int64         // records that became durable since Open
	Rejected    int64         // records that were refused since Open
	Quarantined int64         // segments that Open found damaged or foreign, and those set aside since
	Syncs       int64         // groups that were made durable since Open
	Broken      bool          // the disk takes no records: see ErrBroken
	Trouble     error         // what the disk does not take, records or the cursor, and why; nil when it takes all
	LastError   error         // the last that went wrong, nil when nothing has
}

// Stats returns figures. It may wait for a disk that is slow.
func (l *Log) Stats() Stats {
	oldest, bytes := l.waiting()
	now := l.o.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state.stats
	s.Records = l.state.end.number - l.state.cursor.number
	s.Broken, s.Trouble = l.state.broken != nil, l.state.trouble()
	s.Bytes = bytes + int64(len(l.state.queue)) + l.state.inflight
	if oldest > 0 {
		s.Oldest = max(0, now.Sub(time.Unix(0, oldest)))
	}
	return s
}
