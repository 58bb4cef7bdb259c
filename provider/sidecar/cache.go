package sidecar

import (
	"container/list"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tiergate/tiergate/provider/internal/sdk"
)

// A key names an answer: the flag, and the digest of the context, which is zero for an answer to
// everybody. The key of no flag says that all flags of a context have been asked for.
type key struct {
	flag    string
	context digest
}

// A digest is 128 bits of SHA-256: a collision would show one caller the answer of another.
type digest [16]byte

// entryBytes is what an entry costs besides its texts, about.
const entryBytes = 512

type entry struct {
	key     key
	outcome sdk.Outcome
	until   time.Time // when time alone may have changed it; zero is never
	bytes   int64
}

// A cache keeps answers, and knows which of them are still true: those that came since the event
// stream was connected and that no event has dropped. An answer is put with the number of the
// time at which its question was asked; if the stream has said anything since, it is not kept.
// Safe for concurrent use.
type cache struct {
	most      int
	mostBytes int64

	mu     sync.Mutex
	byKey  map[key]*list.Element
	order  list.List // of *entry, the one used last in front
	bytes  int64
	live   bool   // the stream is connected
	number uint64 // grows with each thing that the stream says, or does not say any more
	newest place  // the latest that it has told of
}

// newCache makes a cache of so many answers and bytes; with a negative bound it keeps nothing.
func newCache(most int, mostBytes int64) *cache {
	if mostBytes < 0 {
		most = -1
	}
	return &cache{most: most, mostBytes: mostBytes, byKey: map[key]*list.Element{}}
}

// fresh returns an answer that is still true.
func (c *cache) fresh(k key) (sdk.Outcome, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.live {
		return sdk.Outcome{}, false
	}
	at, ok := c.byKey[k]
	if !ok {
		return sdk.Outcome{}, false
	}
	e := at.Value.(*entry)
	if !e.until.IsZero() && !time.Now().Before(e.until) {
		return sdk.Outcome{}, false
	}
	c.order.MoveToFront(at)
	return e.outcome, true
}

// last returns an answer that was true once, of the first key that has one.
func (c *cache) last(keys ...key) (sdk.Outcome, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range keys {
		if at, ok := c.byKey[k]; ok {
			c.order.MoveToFront(at)
			return at.Value.(*entry).outcome, true
		}
	}
	return sdk.Outcome{}, false
}

// now returns the number for an answer whose question is asked now, and whether it can be kept.
func (c *cache) now() (number uint64, live bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.number, c.live && c.most > 0
}

// put keeps an answer of the state at, if nothing has changed since the number was given and the
// stream has not told of a later state before.
func (c *cache) put(number uint64, at place, k key, o sdk.Outcome, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.live || number != c.number || c.most <= 0 || at.before(c.newest) {
		return
	}
	e := &entry{key: k, outcome: o, until: until, bytes: sizeOf(k, &o)}
	if at, ok := c.byKey[k]; ok {
		c.remove(at)
	}
	c.byKey[k] = c.order.PushFront(e)
	c.bytes += e.bytes
	for c.order.Len() > 0 && (len(c.byKey) > c.most || c.bytes > c.mostBytes) {
		c.remove(c.order.Back())
	}
}

func sizeOf(k key, o *sdk.Outcome) int64 {
	n := entryBytes + len(k.flag) + len(o.Value) + len(o.Variant)
	for name, v := range o.FlagMetadata {
		n += 48 + len(name)
		if s, ok := v.(string); ok {
			n += len(s)
		}
	}
	return int64(n)
}

func (c *cache) remove(at *list.Element) {
	e := c.order.Remove(at).(*entry)
	delete(c.byKey, e.key)
	c.bytes -= e.bytes
}

// connected begins anew: what was kept before may have changed while nobody told.
func (c *cache) connected(at place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live, c.newest = true, at
	c.clear()
}

// lost says that nobody tells of changes any more. What there is may be used as old.
func (c *cache) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = false
	c.number++
}

// forget drops everything: nobody tells of changes any more, and what there is may not be used as old.
func (c *cache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = false
	c.clear()
}

// changed drops the answers about flags, and all when there are none.
func (c *cache) changed(at place, flags []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.newest = at
	if len(flags) == 0 {
		c.clear()
		return
	}
	c.number++
	gone := map[string]bool{"": true} // what says that all flags of a context are here
	for _, f := range flags {
		gone[f] = true
	}
	for k, at := range c.byKey {
		if gone[k.flag] {
			c.remove(at)
		}
	}
}

func (c *cache) clear() {
	c.number++
	clear(c.byKey)
	c.order.Init()
	c.bytes = 0
}

// A place is a state of the configuration: "<epoch>-<revision>", as the sidecar says it. The zero
// value is an unknown one.
type place struct {
	epoch string
	rev   int64
}

// placeOf reads a revision; a step of the clock behind an "@" is left out. What is none is unknown.
func placeOf(s string) place {
	s, _, _ = strings.Cut(s, "@")
	cut := strings.LastIndexByte(s, '-')
	if cut <= 0 {
		return place{}
	}
	rev, err := strconv.ParseInt(s[cut+1:], 10, 64)
	if err != nil {
		return place{}
	}
	return place{epoch: s[:cut], rev: rev}
}

func (p place) known() bool { return p.epoch != "" }

// String is the revision, "" of an unknown place.
func (p place) String() string {
	if !p.known() {
		return ""
	}
	return p.epoch + "-" + strconv.FormatInt(p.rev, 10)
}

// before reports whether p is surely not as new as q; states of two histories have no order, so
// that neither is as new as the other.
func (p place) before(q place) bool {
	if !p.known() || !q.known() {
		return false
	}
	return p.epoch != q.epoch || p.rev < q.rev
}
