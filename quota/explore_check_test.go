package quota

import (
	"fmt"

	"github.com/tiergate/tiergate"
)

// What has to hold in every state that can be reached.

func answerOf(q *msg) tiergate.LeaseAnswer {
	a := tiergate.LeaseAnswer{State: tiergate.LeaseSealed, Granted: int64(q.got)}
	if q.active {
		a.State = tiergate.LeaseActive
	}
	return a
}

// largest is the largest amount that any revision allows.
func (c *configuration) largest() int64 {
	most := int64(0)
	for _, n := range c.amounts {
		most = max(most, n)
	}
	return most
}

// wrongInLedger says what is wrong with a ledger by itself: its sums are those of its parts,
// and without a failover together no more than the limit.
func (c *configuration) wrongInLedger(s *memoryState) string {
	for key, b := range s.buckets {
		leased, forfeited := int64(0), int64(0)
		for id, l := range b.leases {
			aside := max(0, l.granted-l.reported)
			if l.state == tiergate.LeaseForfeit {
				forfeited += aside
			} else {
				leased += aside
			}
			if h := s.holders[id]; l.state == tiergate.LeaseActive && h != nil && (h.lost || h.retired) {
				return "a holder that is lost or retired has an active lease"
			}
		}
		reserved := int64(0)
		for _, r := range s.reservations {
			if h := r.Holds[0]; r.State == tiergate.ReservationHeld && h.Bucket == key {
				reserved += h.Units
			}
		}
		switch {
		case leased != b.leased || forfeited != b.forfeited || reserved != b.reserved:
			return fmt.Sprintf("leased %d, forfeited %d and reserved %d are not the sums of the leases and reservations (%d, %d, %d)", b.leased, b.forfeited, b.reserved, leased, forfeited, reserved)
		case b.used != s.usage[key]:
			return fmt.Sprintf("used %d is not the usage, %d", b.used, s.usage[key])
		case b.used < 0 || b.leased < 0 || b.reserved < 0 || b.forfeited < 0:
			return "a sum is negative"
		case c.budget[anyFailover] == 0 && c.budget[anyClone] == 0 && b.aside() > c.largest():
			return fmt.Sprintf("%d are used and set aside of a limit of %d", b.aside(), c.largest())
		}
	}
	return ""
}

// wrong says what is wrong with a world.
func (x *explorer) wrong(w *world) string {
	s := &x.ledgers.all[w.ledger]
	if s.fault != "" {
		return s.fault
	}
	for b := range x.cfg.buckets {
		used := int64(0)
		if k := s.state.buckets[bucketNames[b]]; k != nil {
			used = k.used
		}
		committed := int64(0)
		if b == 0 {
			committed = committedIn(&s.state)
		}
		uncounted, may := x.outside(w, s, b)
		admitted := int64(w.admitted[b])
		if b == 0 && (x.cfg.budget[anyFailover] == 0 || w.left[anyFailover] == x.cfg.budget[anyFailover]) {
			admitted -= int64(w.dups)
		}
		limit := x.cfg.largest() + int64(w.slack[b]) + int64(max(1, w.keyed)-1)
		switch {
		case used-committed+uncounted != admitted && (x.cfg.budget[anyKeyed] == 0 || x.cfg.budget[anyFailover] == 0):
			return fmt.Sprintf("bucket %d: %d were admitted, but %d are counted and %d in logs", b, admitted, used-committed, uncounted)
		case admitted+committed > limit:
			return fmt.Sprintf("bucket %d: %d were admitted of %d", b, admitted+committed, limit)
		case used+uncounted+may > limit && !x.learning(w, s):
			return fmt.Sprintf("bucket %d: %d may be admitted of %d without asking the ledger", b, used+uncounted+may, limit)
		}
	}
	if fault := x.uncovered(w, s); fault != "" {
		return fault
	}
	if x.cfg.budget[anyPower]+x.cfg.budget[anyFailover]+x.cfg.budget[anyClone] == 0 && x.cfg.budget[anyCrash] <= maxFormers {
		for i := range w.nodes {
			if w.nodes[i].abandoned != 0 {
				return "a holder was fenced, and nobody has taken its place"
			}
		}
	}
	return ""
}

// uncovered says who may bring more to the ledger than it has set aside for it.
func (x *explorer) uncovered(w *world, s *snapshot) string {
	if x.cfg.budget[anyClone] > 0 || x.learning(w, s) {
		return ""
	}
	for i := range x.cfg.nodes {
		n := &w.nodes[i]
		if !n.alive || n.fenced {
			continue
		}
		at := s.state.logs[logNames[i]].at
		for b := range x.cfg.buckets {
			if x.leftBehind(w, s, i, b) {
				return fmt.Sprintf("%s has forgotten the counter of bucket %d, and the ledger has not had all of it back", holderName(n.who, n.inc), b)
			}
			if n.held[b].fence == 0 {
				continue
			}
			may, aside := n.held[b].rest(), int64(0)
			for _, f := range n.flights {
				if f.bucket == b {
					may += int64(f.units)
				}
			}
			for p := max(at, int64(n.base)); p < int64(n.end); p++ {
				if r := &n.log[p-int64(n.base)]; r.bucket == b && r.inc == n.inc {
					may += int64(r.units)
				}
			}
			if k := s.state.buckets[bucketNames[b]]; k != nil {
				if l := k.leases[holderName(n.who, n.inc)]; l != nil {
					aside = max(0, l.granted-l.reported)
				}
			}
			if may > aside {
				return fmt.Sprintf("%s has %d units of bucket %d, of which %d are set aside", holderName(n.who, n.inc), may, b, aside)
			}
		}
	}
	return ""
}

// committedIn is what reservations have used.
func committedIn(s *memoryState) int64 {
	if r := s.reservations[reservationKey{"s", "r"}]; r != nil && r.State == tiergate.ReservationCommitted {
		if r.Actual < 0 {
			return r.Holds[0].Units
		}
		return r.Actual
	}
	return 0
}

// outside is what the ledger has not counted: what is durable in the logs, and what may yet
// be, as it is at hand of somebody who may spend it or is on its way to a log.
func (x *explorer) outside(w *world, s *snapshot, b uint8) (uncounted, may int64) {
	for i := range x.cfg.nodes {
		n := &w.nodes[i]
		at := s.state.logs[logNames[i]].at
		for p := max(at, int64(n.base)); p < int64(n.end); p++ {
			if r := &n.log[p-int64(n.base)]; r.bucket == b {
				uncounted += int64(r.units)
			}
		}
		if !n.alive {
			continue
		}
		for _, f := range n.flights {
			if f.bucket == b {
				may += int64(f.units)
			}
		}
		if !n.fenced {
			may += n.held[b].rest()
		}
	}
	return uncounted, may
}

func (x *explorer) learning(w *world, s *snapshot) bool { return s.now.Before(s.state.learning) }

// quiet lets a world come to rest: nobody asks for anything any more, every process gives back
// what it holds, everything is uploaded and those who are gone are retired, and only then do
// messages arrive that were late. It says what is left that should not be: every unit that is
// neither used nor held by a process that nobody can speak for is free again.
func (x *explorer) quiet(from *world) string {
	w := *from
	late := w.net
	w.net = [maxNet]msg{}
	for i := range x.cfg.nodes {
		if fault := x.rest(&w, i); fault != "" {
			return fault
		}
	}
	for _, q := range late {
		if q.kind == kindExchange || q.kind == kindUpload || q.kind == kindRetire {
			x.call(&w, q)
		}
	}
	w.ledger = x.ledgers.call(call{ledger: w.ledger, msg: msg{kind: kindTime}}).ledger
	for i := range x.cfg.nodes { // whoever speaks has the ledger look who does not
		if n := &w.nodes[i]; n.alive && !n.fenced {
			if fault := x.say(&w, i, 0); fault != "" {
				return fault
			}
		}
	}
	s := &x.ledgers.all[w.ledger]
	if s.fault != "" {
		return s.fault
	}
	for b := range x.cfg.buckets {
		if fault := x.left(&w, s, b); fault != "" {
			return "in the end, " + fault
		}
	}
	return ""
}

// left says what of a bucket is not free in a world at rest, and should be.
func (x *explorer) left(w *world, s *snapshot, b uint8) string {
	k := s.state.buckets[bucketNames[b]]
	if k == nil {
		return ""
	}
	if uncounted, _ := x.outside(w, s, b); uncounted != 0 {
		return fmt.Sprintf("%d are not counted", uncounted)
	}
	if again := int64(max(1, w.keyed) - 1); b == 0 && k.used-committedIn(&s.state) != int64(w.admitted[b])-again {
		return fmt.Sprintf("used is %d, but %d were admitted, %d of them again", k.used, w.admitted[b], again)
	}
	failedOver := w.left[anyFailover] < x.cfg.budget[anyFailover]
	abandoned := map[string]bool{}
	for i := range x.cfg.nodes {
		for inc := range uint8(64) {
			if w.nodes[i].abandoned>>inc&1 == 1 {
				abandoned[holderName(i, inc)] = true
			}
		}
	}
	if failedOver { // of those who are gone, what they gave back in lost history is not free
		for id := range k.leases {
			abandoned[id] = true
		}
		for i := range x.cfg.nodes {
			if n := &w.nodes[i]; !n.fenced {
				delete(abandoned, holderName(n.who, n.inc))
			}
		}
	}
	for i := range x.cfg.nodes { // the copy was fenced, or has had the other fenced
		if n := &w.nodes[i]; n.who != i {
			abandoned[holderName(n.who, n.inc)] = true
		}
	}
	for id, l := range k.leases {
		if l.granted > l.reported && !abandoned[id] {
			return fmt.Sprintf("%s, which is gone or has given back all, still has %+v", id, *l)
		}
	}
	return ""
}

// rest brings one place to rest.
func (x *explorer) rest(w *world, i uint8) string {
	n := &w.nodes[i]
	x.flush(w, i)
	if !n.alive {
		if n.next == 0 {
			return ""
		}
		n.restart()
	}
	for n.flights[0].units > 0 {
		w.record(n, 0)
	}
	for b := range x.cfg.buckets {
		if fault := x.say(w, i, b); fault != "" {
			return fault
		}
	}
	if fault := x.flush(w, i); fault != "" {
		return fault
	}
	for f := range n.formers {
		if !n.formers[f].there {
			continue
		}
		reply, fault := x.call(w, n.retirementOf(i, f))
		if fault != "" || reply.failed == refused {
			return "a process cannot be retired " + fault
		}
		n.retired(&reply)
	}
	return ""
}

// flush uploads all that a log has.
func (x *explorer) flush(w *world, i uint8) string {
	n := &w.nodes[i]
	n.cursor = n.base
	for range 3 {
		q := n.uploadOf(i)
		reply, fault := x.call(w, q)
		w.dups += uint16(reply.got)
		if fault != "" {
			return fault
		}
		x.uploaded(w, i, reply.at)
		if n.cursor == n.end && reply.at == n.end {
			return ""
		}
	}
	return "a log is not counted to its end"
}

// say is an exchange that gives back everything.
func (x *explorer) say(w *world, i, b uint8) string {
	n := &w.nodes[i]
	if n.fenced || n.held[b].fence == 0 && n.idle[b].fence == 0 && b > 0 {
		return ""
	}
	q := x.send(w, i, b, wish{})
	reply, fault := x.call(w, q)
	x.hear(n, &reply)
	return fault
}
