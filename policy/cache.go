package policy

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"
)

// A cache remembers answers by key. Reading takes no lock and allocates nothing; it is a
// set-associative table of immutable entries. Each set has its own share of the bytes, so
// the whole never holds more than it was made for.
type cache struct {
	seed    maphash.Seed
	mask    uint64
	sets    []cacheSet
	writers [64]sync.Mutex // each guards the writing of every 64th set
}

const (
	cacheWays   = 8
	cacheShare  = 2 << 10 // bytes that the entries of one set may have
	defaultSize = 32 << 20
)

type cacheSet struct {
	ways [cacheWays]atomic.Pointer[entry]
}

// An entry is one remembered answer; immutable once it is in the cache.
type entry struct {
	hash   uint64
	key    string
	access Access
	limits *Limits
	bytes  int // what it holds, itself included
}

// newCache makes a cache of at most about size bytes, of its table and its entries
// together, and no less than one set.
func newCache(size int) *cache {
	sets := 1
	for sets*2*(cacheShare+int(unsafe.Sizeof(cacheSet{}))) <= size {
		sets *= 2
	}
	return &cache{seed: maphash.MakeSeed(), mask: uint64(sets - 1), sets: make([]cacheSet, sets)}
}

func (c *cache) hash(key []byte) uint64 { return maphash.Bytes(c.seed, key) }

// joined is the hash of a key whose two parts have these.
func joined(head, tail uint64) uint64 {
	high, low := bits.Mul64(head^0x9e3779b97f4a7c15, tail^0xd1b54a32d192ed03)
	return high ^ low
}

// get returns the entry of a key, which is given in two parts; nil when there is none.
func (c *cache) get(hash uint64, head, tail []byte) *entry {
	set := &c.sets[hash&c.mask]
	for i := range set.ways {
		if e := set.ways[i].Load(); e != nil && e.hash == hash && e.is(head, tail) {
			return e
		}
	}
	return nil
}

func (e *entry) is(head, tail []byte) bool {
	return len(e.key) == len(head)+len(tail) && e.key[:len(head)] == string(head) && e.key[len(head):] == string(tail)
}

// put remembers an answer under a copy of key. It throws out as many others of the same
// set as it takes, and does nothing when the entry alone is too large.
func (c *cache) put(hash uint64, key []byte, e *entry) {
	e.hash, e.key = hash, string(key)
	e.bytes += len(key) + int(unsafe.Sizeof(entry{}))
	if e.bytes > cacheShare {
		return
	}
	set := &c.sets[hash&c.mask]
	guard := &c.writers[hash&c.mask%uint64(len(c.writers))]
	guard.Lock()
	defer guard.Unlock()
	free, held := -1, 0
	for i := range set.ways {
		old := set.ways[i].Load()
		switch {
		case old == nil:
			free = i
		case old.hash == hash && old.key == e.key:
			return
		default:
			held += old.bytes
		}
	}
	// The victim is picked by bits of the hash that did not pick the set: as good as any.
	for victim := int(hash >> 56); free < 0 || held+e.bytes > cacheShare; victim++ {
		if old := set.ways[victim%cacheWays].Swap(nil); old != nil {
			held -= old.bytes
			free = victim % cacheWays
		}
	}
	set.ways[free].Store(e)
}

// held returns the bytes of all entries, for tests and people.
func (c *cache) held() (bytes, entries int) {
	for i := range c.sets {
		for j := range c.sets[i].ways {
			if e := c.sets[i].ways[j].Load(); e != nil {
				bytes, entries = bytes+e.bytes, entries+1
			}
		}
	}
	return bytes, entries
}
