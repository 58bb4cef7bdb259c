package quota

import (
	"math/bits"
	"sync"
)

// A rateEntry is one key, in 40 bytes without a pointer.
type rateEntry struct {
	key RateKey
	// paid is when all is paid for, in parts since the clock's beginning: nanoseconds times
	// the pace's parts a nanosecond. What is owed is what it is ahead of now.
	paid u128
	pace uint64 // pace.word; 0 is no entry
}

// owed is in the parts of the entry's own pace.
func (e *rateEntry) owed(now int64) u128 { return e.paid.minus(mul(uint64(now), e.pace>>2)) }

func (e *rateEntry) idle(now int64) bool { return !mul(uint64(now), e.pace>>2).less(e.paid) }

// change goes over to another pace with the same units owed, rounded up.
func (e *rateEntry) change(p *pace, now int64) {
	owed := e.owed(now)
	if from := unitOf(e.pace); from != p.unit {
		units := owed.over(from)
		rest := owed.minus(mul(units, from))
		owed = mul(units, p.unit).plus(u128{lo: mul(rest.lo, p.unit).plus(u128{lo: from - 1}).over(from)})
	}
	e.pace, e.paid = p.word(), mul(uint64(now), p.perNS).plus(owed)
}

// A rateShard is one part of the table: entries in an array, each as near behind its home as
// there is room (linear probing), so that an entry is where a look from its home on meets no
// gap before. The hand goes around and throws out what is idle when room is needed.
type rateShard struct {
	mu    sync.Mutex
	slots []rateEntry
	used  int
	most  int // keys
	hand  int
	now   int64 // the newest time that was passed in
	// idleAt is until when nothing here is idle, so that looking for it is in vain; 0 when
	// that is not known. What can make a key idle sooner sets it to 0.
	idleAt int64
	_      [24]byte // shards do not share cache lines
}

const (
	// Of five slots four are taken at most.
	loadOver, loadUnder = 4, 5
	// glance is how far the hand goes before the table grows instead.
	glance = 32
)

func (s *rateShard) home(k RateKey) int {
	hi, _ := bits.Mul64(k.lo, uint64(len(s.slots)))
	return int(hi)
}

// find returns the entry of a key, nil when there is none. It stays valid until the next
// insert or hasRoom.
func (s *rateShard) find(k RateKey) *rateEntry {
	if len(s.slots) == 0 {
		return nil
	}
	for i := s.home(k); ; {
		e := &s.slots[i]
		if e.pace == 0 {
			return nil
		}
		if e.key == k {
			return e
		}
		if i++; i == len(s.slots) {
			i = 0
		}
	}
}

// insert puts a key that is not there where hasRoom has found room. The caller says the rest.
func (s *rateShard) insert(k RateKey) *rateEntry {
	i := s.home(k)
	for s.slots[i].pace != 0 {
		if i++; i == len(s.slots) {
			i = 0
		}
	}
	s.used++
	s.slots[i].key = k
	return &s.slots[i]
}

// hasRoom says whether there is room for another key, and makes it if it can: it throws out
// idle ones, or grows.
func (s *rateShard) hasRoom() bool {
	if s.used < s.most && (s.used+1)*loadUnder <= len(s.slots)*loadOver {
		return true
	}
	if s.used >= s.most && s.now < s.idleAt {
		return false
	}
	if s.sweep(glance, glance) {
		return true
	}
	if s.used < s.most {
		s.grow()
		return true
	}
	if s.sweep(len(s.slots), 1) {
		return true
	}
	s.idleAt = 1<<63 - 1
	for i := range s.slots {
		if e := &s.slots[i]; e.pace != 0 {
			s.idleAt = min(s.idleAt, int64(nanoseconds(e.paid, e.pace>>2)))
		}
	}
	return false
}

// sweep moves the hand on by some slots and throws out idle keys, until there were enough.
func (s *rateShard) sweep(slots, enough int) bool {
	thrown := 0
	for range min(slots, len(s.slots)) {
		if s.hand >= len(s.slots) {
			s.hand = 0
		}
		if e := &s.slots[s.hand]; e.pace == 0 || !e.idle(s.now) {
			s.hand++
			continue
		}
		s.remove(s.hand)
		if thrown++; thrown >= enough {
			break
		}
	}
	return thrown > 0
}

// remove empties a slot, and moves entries back into the gap whose way from home it is on.
func (s *rateShard) remove(gap int) {
	n := len(s.slots)
	for i := (gap + 1) % n; s.slots[i].pace != 0; i = (i + 1) % n {
		if away, back := (i-s.home(s.slots[i].key)+n)%n, (i-gap+n)%n; away >= back {
			s.slots[gap] = s.slots[i]
			gap = i
		}
	}
	s.slots[gap] = rateEntry{}
	s.used--
}

// grow makes the array a quarter larger, up to what most needs, and leaves idle keys behind.
func (s *rateShard) grow() {
	old := s.slots
	s.slots = make([]rateEntry, min(len(old)+len(old)/4+8, s.most*loadUnder/loadOver+2))
	s.used, s.hand = 0, 0
	for i := range old {
		if e := &old[i]; e.pace != 0 && !e.idle(s.now) {
			*s.insert(e.key) = *e
		}
	}
}

// fullState is what an unknown key hears while there is no room.
func (s *rateShard) fullState() RateState {
	wait := nanoseconds(u128{lo: uint64(max(s.idleAt-s.now, 1))}, 1)
	return RateState{RetryAfter: wait, ResetsIn: wait, Full: true}
}
