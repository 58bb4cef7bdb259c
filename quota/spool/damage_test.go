package spool

import (
	"path/filepath"
	"slices"
)

// A spot is where a segment gets damaged.
type spot struct {
	path string
	node *inode
	last bool
	at   int
	used int // where the records end that are the segment's
}

// spot picks a place in a segment by two numbers.
func (w *world) spot(fs *simFS, which, where int) (spot, bool) {
	paths := fs.segments()
	if len(paths) == 0 {
		return spot{}, false
	}
	i := which % len(paths)
	s := spot{path: paths[i], node: fs.names[paths[i]], last: i == len(paths)-1}
	used := len(s.node.live)
	for used > headerSize && s.node.live[used-1] == 0 {
		used--
	}
	if used == 0 {
		return spot{}, false
	}
	s.at = where % used
	limit := int64(1) << 60
	if !s.last {
		limit, _ = segmentNumber(filepath.Base(paths[i+1]))
	}
	w.suffer(&s, limit)
	return s, true
}

// suffer works out from a segment that is still whole which records its damage may take.
func (w *world) suffer(s *spot, limit int64) {
	w.damaged = true
	h, seed, ok := decodeHeader(s.node.live)
	if !ok {
		return // it is not the first time
	}
	found := scan(s.node.live, h, seed, limit, false)
	s.used = int(found.used)
	at, group := headerSize, int64(-1)
	for n := h.start.number; n < found.end; n++ {
		rec := s.node.live[at : at+sizeOf(s.node.live[at:])]
		at += len(rec)
		if s.at < headerSize || s.at < at {
			w.lostOK[n] = true
		}
		if s.at < at && group < 0 {
			group = groupOf(rec) // of the first that is hit
		}
		if n == found.end-1 && s.last && (group < 0 || group == groupOf(rec)) {
			w.cut = true
		}
	}
	if s.last && found.end == h.start.number {
		w.cut = true
	}
	// What comes after damage in the same segment is lost as well, though it was damaged before.
	for n := found.end; !s.last && n < limit; n++ {
		w.lostOK[n] = true
	}
}

// flip changes one bit.
func (s spot) flip(w *world, bit int) {
	for _, content := range [][]byte{s.node.live, s.node.durable} {
		if s.at < len(content) {
			content[s.at] ^= 1 << (bit % 8)
		}
	}
	if s.at < headerUsed+4 || s.at >= headerSize && s.at < s.used && !w.cut {
		w.alarm = true
	}
}

// truncate cuts the rest of the segment off. In the last one that looks like a torn end.
func (s spot) truncate(w *world) {
	s.node.live = slices.Clone(s.node.live[:s.at])
	s.node.durable = slices.Clone(s.node.durable[:min(s.at, len(s.node.durable))])
	s.node.versions, s.node.sizes = map[int64][][]byte{}, nil
	if s.at >= headerSize && s.last {
		w.cut = true
		return
	}
	if s.at < s.used {
		w.alarm = true
	}
}
