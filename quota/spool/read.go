package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// A Batch is records that follow each other, and the places between which they are. To is
// From and as many records as there are, and those that are lost.
type Batch struct {
	Records []Record
	From    int64 // the number of records before, since the log began
	To      int64
	Lost    int64  // how many right after From do not read any more; see Recovery.Quarantined
	Before  string // the hash at From: 64 hex digits, "" at the beginning
	After   string // the hash at To
}

// A place is a mark, and where in a segment that is. Without a segment that is not known.
type place struct {
	mark
	seg    *segment
	offset int64
}

// A view is what is durable of a segment.
type view struct {
	seg       *segment
	end, used int64
}

// opened is the segment that is being read.
type opened struct {
	seg  *segment
	file File
}

func (o *opened) close() {
	if o.file != nil {
		_ = o.file.Close() // it was read only
	}
	*o = opened{}
}

func (o *opened) of(fs FS, seg *segment) (File, error) {
	if o.seg == seg {
		return o.file, nil
	}
	o.close()
	f, err := fs.Open(seg.path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	*o = opened{seg, f}
	return f, nil
}

func isShort(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// Read returns durable records from the cursor on, at most max of them and about maxBytes,
// but one at least, and does not move the cursor. The batch is empty, with From = To, when
// there are none. A segment that does not read is quarantined and what it held is Lost.
func (l *Log) Read(max, maxBytes int) (Batch, error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	if err := l.usable(); err != nil {
		return Batch{}, err
	}
	for {
		b, again, err := l.read(max, maxBytes)
		if err != nil {
			return Batch{}, fmt.Errorf("read the usage log: %w", err)
		}
		if !again {
			return b, nil
		}
	}
}

func (l *Log) usable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.closed {
		return ErrClosed
	}
	return nil
}

// read is Read; again says that a segment was quarantined, and that there may be more.
func (l *Log) read(max, maxBytes int) (b Batch, again bool, err error) {
	b = Batch{From: l.at.number, To: l.at.number, Before: l.at.hash.text(), After: l.at.hash.text()}
	l.ahead = l.at
	v, end := l.holding(l.at.number)
	if v.seg == nil {
		if end.number > b.From {
			b.To, b.Lost, b.After = end.number, end.number-b.From, end.hash.text()
			l.ahead = place{mark: end}
		}
		return b, false, nil
	}
	p, sound, err := l.enter(v, l.at)
	if err != nil || !sound {
		return b, true, err
	}
	b.Lost = p.number - b.From
	data, err := l.bytes(v, p.offset, int64(maxBytes))
	if err != nil {
		return b, false, err
	}
	p = l.collect(&b, v, p, data, max, maxBytes)
	if len(b.Records) == 0 && max > 0 {
		return b, true, nil
	}
	b.To, b.After = p.number, p.hash.text()
	l.ahead = p
	return b, false, nil
}

// collect puts records that begin at a place into a batch, and returns the place after them.
// When one does not read, its segment is quarantined.
func (l *Log) collect(b *Batch, v view, p place, data []byte, max, maxBytes int) place {
	c, size := newChain(p.hash), 0
	for len(b.Records) < max && p.number < v.end {
		rec := recordAt(data, v.seg.seed, p.number)
		if rec == nil {
			if cut := int64(len(data)) < min(recordHead+MaxPayload, v.used-p.offset); !cut || len(b.Records) == 0 {
				l.spoil(v.seg, p)
			}
			break
		}
		if len(b.Records) > 0 && size+len(rec) > maxBytes {
			break
		}
		b.Records = append(b.Records, Record{ID: idOf(rec), Payload: payloadOf(rec)})
		c.add(rec)
		size += len(rec)
		p = place{mark{number: p.number + 1, hash: c.at}, v.seg, p.offset + int64(len(rec))}
		data = data[len(rec):]
	}
	return p
}

// holding returns the first segment that has records from a number on, and where the log ends.
func (l *Log) holding(number int64) (view, mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, seg := range l.state.segments {
		if seg.end > max(number, seg.head.start.number) {
			return view{seg, seg.end, seg.used}, l.state.end
		}
	}
	return view{}, l.state.end
}

// enter returns the place of the first record in a segment that is not before a place. When
// the segment does not read so far, it is quarantined and sound is false.
func (l *Log) enter(v view, from place) (p place, sound bool, err error) {
	switch {
	case from.seg == v.seg:
		return from, true, nil
	case v.seg.head.start.number >= from.number:
		return place{v.seg.head.start, v.seg, headerSize}, true, nil
	}
	p, sound, err = l.walk(v, from.number)
	if err == nil && sound && !p.lost && p.hash != from.hash {
		l.report("the usage log and its cursor do not agree", fmt.Errorf("%w: at record %d", ErrHistory, from.number))
	}
	return p, sound, err
}

// walk goes through a segment up to a number.
func (l *Log) walk(v view, to int64) (p place, sound bool, err error) {
	p = place{v.seg.head.start, v.seg, headerSize}
	data, err := l.bytes(v, headerSize, v.used)
	if err != nil {
		return p, false, err
	}
	c := newChain(p.hash)
	for p.number < to {
		rec := recordAt(data, v.seg.seed, p.number)
		if rec == nil {
			l.spoil(v.seg, p)
			return p, false, nil
		}
		c.add(rec)
		p = place{mark{number: p.number + 1, hash: c.at}, v.seg, p.offset + int64(len(rec))}
		data = data[len(rec):]
	}
	return p, true, nil
}

// bytes reads what is durable of a segment from an offset on, about limit bytes, but a whole
// record. What does not read is left out.
func (l *Log) bytes(v view, offset, limit int64) ([]byte, error) {
	f, err := l.open.of(l.o.FS, v.seg)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // somebody removed it
	}
	if err != nil {
		return nil, err
	}
	data := make([]byte, min(v.used-offset, max(limit, recordHead+MaxPayload)))
	n, err := f.ReadAt(data, offset)
	if err != nil && !isDamage(err) {
		return nil, err
	}
	return data[:n], nil
}

// spoil quarantines a segment that does not read from a place on.
func (l *Log) spoil(seg *segment, from place) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.writer.seg == seg {
		l.retire(false)
	}
	l.mu.Lock()
	seg.end, seg.used, seg.damaged = from.number, from.offset, true
	l.state.stats.Quarantined++
	l.state.account(l.o.Now())
	l.mu.Unlock()
	l.report("a segment of the usage log is damaged", fmt.Errorf("%s: record %d does not read", seg.path, from.number))
}

// Pending returns when there is something to Read, or ctx's error, or ErrClosed.
func (l *Log) Pending(ctx context.Context) error {
	for {
		l.mu.Lock()
		closed, there := l.state.closed, l.state.end.number > l.state.cursor.number
		l.mu.Unlock()
		switch {
		case closed:
			return ErrClosed
		case there:
			signal(l.news) // for others who wait
			return nil
		}
		select {
		case <-l.news:
		case <-l.closing:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waiting returns when the oldest record that waits was written, in Unix nanoseconds, and how
// many bytes wait with it; 0 when there is none or it does not read.
func (l *Log) waiting() (oldest, bytes int64) {
	l.reading.Lock()
	defer l.reading.Unlock()
	v, _ := l.holding(l.at.number)
	if v.seg == nil || l.usable() != nil {
		return 0, 0
	}
	p, sound, err := l.enter(v, l.at)
	if err != nil || !sound {
		return 0, 0
	}
	if p.number == l.at.number {
		l.at = p
	}
	bytes = l.bytesFrom(p)
	f, err := l.open.of(l.o.FS, v.seg)
	if err != nil {
		return 0, bytes
	}
	var head [recordHead]byte
	if _, err := f.ReadAt(head[:], p.offset); err != nil {
		return 0, bytes
	}
	return int64(binary.LittleEndian.Uint64(head[16:])), bytes
}

// bytesFrom is how many bytes of records are durable from a place in a segment on.
func (l *Log) bytesFrom(p place) (bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, seg := range l.state.segments {
		switch {
		case seg == p.seg:
			bytes += seg.used - p.offset
		case seg.end > p.number:
			bytes += seg.used - headerSize
		}
	}
	return bytes
}
