package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Advance says that the ledger has counted the log up to a place: the end of a batch, or
// within one. The cursor is durable before anything is removed. While the disk does not take
// it, it moves here all the same, and the writer tries again: see Stats.Trouble. A process that
// ends meanwhile leaves a cursor that is behind, and the next one is told so by the ledger.
func (l *Log) Advance(to int64) error {
	l.reading.Lock()
	defer l.reading.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	p := l.ahead
	switch {
	case to < l.at.number:
		return fmt.Errorf("advance the usage log to %d: it is at %d", to, l.at.number)
	case to == l.at.number:
		return nil
	case to != p.number:
		var known bool
		var err error
		if p, known, err = l.find(to); err != nil {
			return fmt.Errorf("advance the usage log to %d: %w", to, err)
		} else if !known {
			return fmt.Errorf("advance the usage log to %d: %w", to, ErrHistory)
		}
	}
	l.move(p)
	return nil
}

// Rewind moves the cursor to where the ledger says that it is, which may also be ahead of it,
// if the log had that hash at that place. What was lost cannot be compared: there the ledger
// is believed. ErrHistory says that the ledger counted another log under this one's name, or
// more of it than is there: see Renew. ErrNotKept says that the ledger is behind what is
// kept. The cursor is durable as Advance says.
func (l *Log) Rewind(to int64, hash string) error {
	l.reading.Lock()
	defer l.reading.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	want, err := digestFrom(hash)
	if err != nil || to < 0 {
		return fmt.Errorf("rewind the usage log to %d: %w", to, ErrHistory)
	}
	p, known, err := l.find(to)
	if err != nil {
		return fmt.Errorf("rewind the usage log to %d: %w", to, err)
	}
	if known && p.hash != want {
		return fmt.Errorf("rewind the usage log to %d: %w", to, ErrHistory)
	}
	if !known {
		p = place{mark: mark{number: to, hash: want}}
	}
	l.move(p)
	return nil
}

// find returns a place. It is not known, and has no hash, where records are lost.
func (l *Log) find(number int64) (p place, known bool, err error) {
	for {
		v, end := l.holding(number)
		switch {
		case number == l.at.number:
			return l.at, true, nil
		case number > end.number:
			return p, false, ErrHistory
		case number == end.number:
			return place{mark: end}, !end.lost, nil
		case number < l.at.number && number < l.kept():
			return p, false, ErrNotKept
		case v.seg == nil || v.seg.head.start.number > number: // after it, something is lost
			if v = l.endingAt(number); v.seg == nil {
				return place{mark: mark{number: number}}, false, nil
			}
		}
		p, sound, err := l.walk(v, number)
		if err != nil || sound {
			return p, !p.lost, err
		}
	}
}

// endingAt returns the segment whose last record is right before a number.
func (l *Log) endingAt(number int64) view {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, seg := range l.state.segments {
		if seg.end == number && seg.head.start.number < number {
			return view{seg, seg.end, seg.used}
		}
	}
	return view{}
}

// kept is the number of the oldest record that is kept.
func (l *Log) kept() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.state.segments) == 0 {
		return l.state.end.number
	}
	return l.state.segments[0].head.start.number
}

// move moves the cursor.
func (l *Log) move(p place) {
	l.at, l.ahead = p, p
	l.mu.Lock()
	l.state.cursor = p.mark
	l.mu.Unlock()
	l.note()
}

// note makes the cursor durable, and then removes what nobody needs any more.
func (l *Log) note() {
	err := l.record(l.at.mark)
	l.mu.Lock()
	before := l.state.unnoted
	l.state.unnoted = err
	l.mu.Unlock()
	switch {
	case err == nil && before != nil:
		l.o.Log.Info("the cursor of the usage log is on the disk again")
	case err != nil && before == nil:
		l.report("the cursor of the usage log stays behind on the disk", err)
		signal(l.wake) // the writer tries again from now on
	}
	if err == nil {
		l.sweep()
	}
}

// noteAgain tries once more to make the cursor durable, if the disk did not take it. While
// somebody reads, who is about to move it, that can wait.
func (l *Log) noteAgain() {
	l.mu.Lock()
	behind := l.state.unnoted != nil
	l.mu.Unlock()
	if behind && l.reading.TryLock() {
		defer l.reading.Unlock()
		l.note()
	}
}

// record writes a cursor, and how far the log is durable.
func (l *Log) record(cursor mark) error {
	l.mu.Lock()
	id, end := l.state.id, l.state.end.number
	l.mu.Unlock()
	if err := writePosition(l.o.FS, l.o.Dir, id, position{cursor: cursor, end: end}); err != nil {
		return fmt.Errorf("the disk does not take the usage log's cursor: %w", err)
	}
	return nil
}

// sweep removes segments that the ledger has, the oldest first, and never the last: it tells
// where the log goes on.
func (l *Log) sweep() {
	now := l.o.Now()
	for {
		l.mu.Lock()
		l.state.account(now)
		seg := l.state.removable(now, l.o.Keep, l.o.MaxBytes)
		l.mu.Unlock()
		if seg == nil {
			return
		}
		if l.open.seg == seg {
			l.open.close()
		}
		// One after the other: what a crash brings back is never with a hole.
		if !l.discard(seg) {
			return // it is tried again with the next batch
		}
		l.mu.Lock()
		l.state.segments = slices.Delete(l.state.segments, 0, 1)
		l.mu.Unlock()
	}
}

func (l *Log) discard(seg *segment) bool {
	if seg.damaged {
		return l.setAside(filepath.Base(seg.path), seg.head.log)
	}
	err := l.o.FS.Remove(seg.path)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		err = l.o.FS.SyncDir(l.o.Dir)
	}
	if err != nil {
		l.report("a segment of the usage log could not be removed", err)
		return false
	}
	return true
}

// account works out which segments the ledger has, and how much it has not.
func (s *state) account(now time.Time) {
	s.held = 0
	for _, seg := range s.segments {
		switch {
		case seg.active || seg.end > s.cursor.number:
			seg.doneAt = time.Time{}
			s.held += seg.used
		case seg.doneAt.IsZero():
			seg.doneAt = now
		}
	}
}

// removable returns the oldest segment if it has been kept for long enough, or too much is.
func (s *state) removable(now time.Time, keep time.Duration, most int64) *segment {
	if len(s.segments) < 2 || s.segments[0].doneAt.IsZero() {
		return nil
	}
	var kept int64
	for _, seg := range s.segments {
		if !seg.doneAt.IsZero() {
			kept += seg.size
		}
	}
	if first := s.segments[0]; kept > most || now.Sub(first.doneAt) >= keep {
		return first
	}
	return nil
}

// shorten gives back the room behind a segment's last record.
func (l *Log) shorten(seg *segment) {
	f, err := l.o.FS.Open(seg.path, os.O_RDWR)
	if err != nil {
		return
	}
	if f.Truncate(seg.used) == nil {
		seg.size = seg.used
	}
	_ = f.Close() // it is about room only
}

// setAside moves a segment into the quarantine.
func (l *Log) setAside(name string, log [16]byte) bool {
	from, to := filepath.Join(l.o.Dir, name), filepath.Join(l.quarantine(), formatUUID(log)+"-"+name)
	names, err := l.o.FS.List(l.quarantine())
	for n := 1; err == nil && slices.Contains(names, filepath.Base(to)); n++ {
		to = filepath.Join(l.quarantine(), fmt.Sprintf("%s-%d-%s", formatUUID(log), n, name))
	}
	if err == nil {
		err = l.o.FS.Rename(from, to)
	}
	if err == nil {
		err = errors.Join(l.o.FS.SyncDir(l.quarantine()), l.o.FS.SyncDir(l.o.Dir))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.report("a file of the usage log could not be set aside", err)
		return false
	}
	return true
}
