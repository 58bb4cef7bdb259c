package quota

import "github.com/tiergate/tiergate"

// How a process of the explorer forgets a counter and opens it again. What it remembers, and
// what it goes on with, say the real functions; when it may forget is the engine's rule, as it
// is seen from outside: all was given back and the ledger has said so, and has counted all that
// was spent.

// mayForget says whether a counter is there that may be forgotten.
func (n *node) mayForget(b uint8) bool {
	if h := &n.held[b]; h.fence == 0 || !h.sealed || n.unheard[b] {
		return false
	}
	for _, f := range n.flights {
		if f.units > 0 && f.bucket == b {
			return false
		}
	}
	for p := n.cursor; p < n.end; p++ {
		if r := &n.log[p-n.base]; r.bucket == b && r.inc == n.inc {
			return false
		}
	}
	return true
}

// forget drops a counter from memory.
func (n *node) forget(cfg *configuration, b uint8) {
	var f forgotten
	f.add(&account{bucket: bucketNames[b], period: cfg.period(b), holding: n.held[b]}, epoch)
	n.held[b], n.idle[b] = holding{}, f.of[traceName(bucketNames[b])]
}

// open has a counter in memory again that was forgotten, for somebody who calls.
func (n *node) open(b uint8) {
	if n.idle[b].fence == 0 {
		return
	}
	f := forgotten{of: map[[2]int64]trace{traceName(bucketNames[b]): n.idle[b]}}
	n.held[b], n.idle[b] = f.take(bucketNames[b]), trace{}
}

// leftBehind says whether a counter is forgotten of which the ledger still sets units aside:
// nobody would give them back before it is used again, or its holder retired. After a failover
// that may be, as the ledger may have lost that they were given back.
func (x *explorer) leftBehind(w *world, s *snapshot, i, b uint8) bool {
	n := &w.nodes[i]
	if n.idle[b].fence == 0 || w.left[anyFailover] < x.cfg.budget[anyFailover] {
		return false
	}
	l := s.state.buckets[bucketNames[b]].leases[holderName(n.who, n.inc)]
	return l.state == tiergate.LeaseActive || l.granted > l.reported
}
