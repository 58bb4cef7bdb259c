package quota

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tiergate/tiergate"
)

// An explorer visits every world that a configuration can reach, the nearest first.
type explorer struct {
	cfg      *configuration
	monotone bool // the amounts only rise or only fall
	ledgers  *ledgers
	seen     map[[16]byte]struct{}
	paths    []link // how each state was reached, by its number
	scratch  []byte
	endings  int // how many states were brought to rest
}

// A link is the last step of the way to a state.
type link struct {
	from  int32
	event event
}

// visit is a world with its number.
type visit struct {
	world  world
	number int32
}

func newExplorer(cfg *configuration) *explorer {
	down := slices.Clone(cfg.amounts)
	slices.Reverse(down)
	return &explorer{
		cfg: cfg, ledgers: newLedgers(cfg), seen: map[[16]byte]struct{}{},
		monotone: slices.IsSorted(cfg.amounts) || slices.IsSorted(down),
	}
}

var (
	bucketNames = func() (n [maxBuckets]tiergate.Bucket) {
		for b := range n {
			n[b] = bucketName(uint8(b))
		}
		return n
	}()
	logNames = func() (n [maxNodes]string) {
		for i := range n {
			n[i] = logName(uint8(i))
		}
		return n
	}()
)

// run visits all that can be reached, and describes the shortest way to what is wrong.
func (x *explorer) run() (states int, counterexample string) {
	first := x.cfg.start()
	x.seen[x.key(&first)] = struct{}{}
	x.paths = append(x.paths, link{from: -1})
	level, next := []visit{{first, 0}}, []visit(nil)
	var events []event
	for len(level) > 0 {
		for i := range level {
			from := &level[i]
			events = x.events(&from.world, events[:0])
			for _, e := range events {
				w, fault := x.step(&from.world, e)
				key := x.key(&w)
				if _, known := x.seen[key]; known && fault == "" {
					continue
				}
				x.seen[key] = struct{}{}
				number := int32(len(x.paths))
				x.paths = append(x.paths, link{from.number, e})
				if fault == "" {
					fault = x.wrong(&w)
				}
				if fault == "" {
					x.endings++
					fault = x.quiet(&w)
				}
				if fault != "" {
					return len(x.paths), x.tell(number, &w, fault)
				}
				next = append(next, visit{w, number})
			}
		}
		level, next = next, level[:0]
	}
	return len(x.paths), ""
}

// tell describes the way to a state.
func (x *explorer) tell(number int32, last *world, fault string) string {
	var way []event
	for n := number; x.paths[n].from >= 0; n = x.paths[n].from {
		way = append(way, x.paths[n].event)
	}
	slices.Reverse(way)
	return x.cfg.name + ": " + fault + "\n" + x.story(way) + x.describe(last)
}

// story describes events one after the other.
func (x *explorer) story(way []event) string {
	var b strings.Builder
	w := x.cfg.start()
	for i, e := range way {
		fmt.Fprintf(&b, "  %2d. %s\n", i+1, e.describe(&w, x))
		w, _ = x.step(&w, e)
	}
	return b.String()
}

// key is a short name of a world: equal worlds have equal ones. Messages have no order.
func (x *explorer) key(w *world) [16]byte {
	k := x.scratch[:0]
	k = binary.LittleEndian.AppendUint32(k, uint32(w.ledger))
	k = binary.LittleEndian.AppendUint32(k, uint32(w.standby))
	k = append(k, w.left[:]...)
	k = append(k, byte(w.keyed), byte(w.dups), bit(w.rolled), byte(w.shared))
	for b := range x.cfg.buckets {
		k = append(k, byte(w.admitted[b]), byte(w.slack[b]))
	}
	for i := range x.cfg.nodes {
		k = x.appendNode(k, &w.nodes[i])
	}
	var order [maxNet][msgBytes]byte
	for i := range w.net {
		order[i] = w.net[i].bytes()
	}
	for i := 1; i < maxNet; i++ {
		for j := i; j > 0 && string(order[j][:]) < string(order[j-1][:]); j-- {
			order[j], order[j-1] = order[j-1], order[j]
		}
	}
	for i := range order {
		k = append(k, order[i][:]...)
	}
	x.scratch = k
	sum := sha256.Sum256(k)
	return [16]byte(sum[:16])
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (x *explorer) appendNode(k []byte, n *node) []byte {
	k = append(k, bit(n.alive)|bit(n.fenced)<<1|bit(n.spoke)<<2, n.who, n.inc, n.next, n.rev, byte(n.minted), byte(n.minted>>8))
	k = append(append(k, n.chain.previous...), '/')
	k = append(append(k, n.chain.token...), '/')
	for b := range x.cfg.buckets {
		h := &n.held[b]
		k = append(k, byte(h.fence), byte(h.granted), byte(h.spent), byte(h.under), bit(h.sealed))
		k = append(k, byte(n.idle[b].fence), byte(n.idle[b].spent), bit(n.unheard[b] && x.cfg.forgets))
	}
	for _, f := range n.flights {
		k = append(k, f.units, f.bucket, f.inc, bit(f.keyed), byte(f.fence))
	}
	k = append(k, byte(n.base), byte(n.end), byte(n.cursor), byte(n.abandoned))
	for i := range n.end - n.base {
		r := &n.log[i]
		k = append(k, r.units, r.bucket, r.inc, bit(r.keyed))
	}
	for _, f := range n.formers {
		k = append(k, bit(f.there), f.inc, byte(f.previous), byte(f.token), byte(f.end))
	}
	return k
}

const msgBytes = 24

func (q *msg) bytes() [msgBytes]byte {
	return [msgBytes]byte{
		q.kind, q.node, q.who, q.inc, bit(q.current) | bit(q.seal)<<1 | bit(q.active)<<2,
		byte(q.previous), byte(q.previous >> 8), byte(q.token), byte(q.token >> 8), q.bucket, q.rev,
		byte(q.fence), byte(q.granted), byte(q.spent), byte(q.need), byte(q.least), byte(q.want),
		q.failed, byte(q.got), byte(q.from), byte(q.to), byte(q.at),
	}
}

// Nothing that can happen to a few processes and their ledger, in any order, lets more be
// admitted than the limit, counts a use twice or not at all, or keeps a unit that nobody has.
func TestExplore_every_state(t *testing.T) {
	for _, cfg := range configurations() {
		t.Run(cfg.name, func(t *testing.T) {
			x := newExplorer(&cfg)
			states, counterexample := x.run()
			if counterexample != "" {
				t.Fatal(counterexample)
			}
			t.Logf("explorer: %s: %d states, %d ledgers, %d calls", cfg.name, states, len(x.ledgers.all), len(x.ledgers.cached))
		})
	}
}
