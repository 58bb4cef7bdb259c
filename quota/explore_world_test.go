package quota

import (
	"fmt"
	"strings"
)

// The world that the explorer walks through: a ledger, a few processes that hold leases of
// it, and messages under way. The state machines in it are the real ones: holding and chain
// in each process, and Memory behind the ledger's number.
//
// A pause has no event of its own: a process that takes no step is paused, for as long as
// one likes, and nothing here heeds a deadline. A crash of the ledger with nothing lost has
// none either: to the others it is that some messages and answers were lost.

// The bounds of a world. What has no room does not happen.
const (
	maxNodes   = 4
	maxBuckets = 3
	maxNet     = 4
	maxFlights = 2
	maxLog     = 8
	maxFormers = 2
)

// A configuration is a small world and how much may happen in it.
type configuration struct {
	name    string
	nodes   uint8
	buckets uint8
	periods bool
	amounts []int64 // by revision; each process learns them one by one
	units   []uint8 // what callers want
	asks    []wish
	budget  [budgets]uint8
	// late answers are heard after others; a call that has failed is never answered, so this
	// is more than can happen.
	late bool
	// forgets is that processes forget the counters that nobody uses. It has no number: a
	// counter is forgotten again only after messages.
	forgets bool
	net     int // how many messages are under way at most
}

// A wish is what an exchange asks for, in units beyond what is spent.
type wish struct{ need, least, want int16 }

// What is bounded by number.
const (
	anySpend = iota
	anyUndo
	anySend
	anyDouble // a message arrives and arrives again
	anyLoss   // of a message or an answer
	anyCrash
	anyPower
	anyLearn
	anyTime
	anyFailover
	anyClone
	anyKeyed
	anyReserve
	budgets
)

type world struct {
	ledger, standby int32
	left            [budgets]uint8
	nodes           [maxNodes]node
	net             [maxNet]msg
	admitted        [maxBuckets]uint16 // Σ of what is durable, hence may have been answered
	keyed           uint16             // how many of these are one and the same by their key …
	dups            uint16             // … and were counted as that
	slack           [maxBuckets]uint16 // what was held twice because a process was copied …
	shared          uint16             // … and the token that both then waited with for an answer
	rolled          bool
}

// A node is a place where a process runs, one after the other, with its log.
type node struct {
	alive, fenced bool
	spoke         bool // with this life of the ledger
	who, inc      uint8
	next          uint8 // the next process's inc
	rev           uint8
	chain         chain
	minted        uint16
	held          [maxBuckets]holding
	idle          [maxBuckets]trace // the counters that are forgotten; a fence of 0 is none
	unheard       [maxBuckets]bool  // the last message about it has no answer yet
	flights       [maxFlights]flight
	base, end     uint16 // the log's places: those before base are gone from it
	cursor        uint16
	log           [maxLog]record
	formers       [maxFormers]former
	abandoned     uint64 // the processes whose units are lost until somebody reconciles them
}

// A flight is a spend that is not durable yet.
type flight struct {
	units, bucket, inc uint8
	keyed              bool
	fence              int64
}

type record struct {
	units, bucket, who, inc uint8
	keyed                   bool
}

// A former process is retired when the log is counted up to where it ended.
type former struct {
	there           bool
	inc             uint8
	previous, token uint16
	end             uint16
}

const (
	kindNone = iota
	kindExchange
	kindReply
	kindUpload
	kindRetire
	kindReserve
	kindCommit
	kindRelease
	kindTime
	kindRoll
	kindFailover
)

// A msg is a message, an answer, or something else that the ledger is called for.
type msg struct {
	kind, node, who, inc  uint8
	current               bool // the process waits for the answer
	previous, token       uint16
	bucket, rev           uint8
	fence, granted, spent int16
	need, least, want     int16
	seal                  bool
	failed                uint8
	active                bool
	got                   int16
	from, to, at          uint16
}

// An event is one step.
type event struct{ kind, node, a, b uint8 }

const (
	evSpend = iota
	evDurable
	evUndo
	evSend
	evDeliver
	evDouble // deliver and keep
	evMute   // deliver, and lose the answer
	evLose
	evUpload
	evRetire
	evCrash
	evPower
	evRestart
	evForget
	evLearn
	evTime
	evRoll
	evReplicate
	evFailover
	evClone
	evReserve
	evCommit
	evRelease
)

// start is how everything begins.
func (c *configuration) start() world {
	w := world{standby: -1, left: c.budget}
	for i := range c.nodes {
		w.nodes[i] = node{alive: true, who: i, next: 1}
	}
	if w.left[anyClone] > 0 {
		w.nodes[c.nodes-1] = node{} // the place of the copy
	}
	return w
}

// events appends what can happen next.
func (x *explorer) events(w *world, out []event) []event {
	add := func(kind int, node, a, b int) {
		out = append(out, event{uint8(kind), uint8(node), uint8(a), uint8(b)})
	}
	has := func(budget int) bool { return w.left[budget] > 0 }
	room := -1
	used := 0
	for i := range w.net {
		if w.net[i].kind == kindNone {
			room = i
		} else {
			used++
		}
	}
	if used >= x.cfg.net {
		room = -1
	}
	for i := range int(x.cfg.nodes) {
		x.nodeEvents(w, i, room >= 0, has, add)
	}
	for i := range w.net {
		q := &w.net[i]
		if q.kind == kindNone {
			continue
		}
		add(evDeliver, 0, i, 0)
		if has(anyLoss) {
			add(evLose, 0, i, 0)
			if q.kind == kindUpload || q.kind == kindRetire {
				add(evMute, 0, i, 0)
			}
		}
		if has(anyDouble) && room >= 0 && q.kind != kindReply {
			add(evDouble, 0, i, 0)
		}
	}
	if has(anyTime) && x.mayPass(w) {
		add(evTime, 0, 0, 0)
	}
	if x.cfg.periods && !w.rolled && x.mayPass(w) {
		add(evRoll, 0, 0, 0)
	}
	if has(anyFailover) {
		if w.standby < 0 {
			add(evReplicate, 0, 0, 0)
		} else {
			add(evFailover, 0, 0, 0)
		}
	}
	if has(anyReserve) {
		add(evReserve, 0, 1, 0)
		add(evReserve, 1, 2, 0)
		for actual := range 3 {
			add(evCommit, 0, actual, 0)
			add(evCommit, 0, actual, 1)
		}
		add(evRelease, 0, 0, 0)
	}
	return out
}

func (x *explorer) nodeEvents(w *world, i int, room bool, has func(int) bool, add func(kind, node, a, b int)) {
	n := &w.nodes[i]
	if !n.alive {
		if n.next > 0 { // the place of a copy is empty
			add(evRestart, i, 0, 0)
		}
		return
	}
	free := n.end-n.base < maxLog-maxFlights // the rest is for coming to rest
	for f := range n.flights {
		if n.flights[f].units == 0 {
			continue
		}
		if free {
			add(evDurable, i, f, 0)
		}
		if has(anyUndo) {
			add(evUndo, i, f, 0)
		}
	}
	if !n.fenced {
		x.holderEvents(w, i, room, has, add)
	}
	if has(anyLearn) && int(n.rev) < len(x.cfg.amounts)-1 {
		add(evLearn, i, 0, 0)
	}
	if room && (n.base < n.end) {
		add(evUpload, i, 0, 0)
	}
	for f := range n.formers {
		if room && n.formers[f].there {
			add(evRetire, i, f, 0)
		}
	}
	copied := n.who != uint8(i)
	if has(anyCrash) && !copied {
		add(evCrash, i, 0, 0)
	}
	if has(anyPower) && !copied {
		add(evPower, i, 0, 0)
	}
	if last := int(x.cfg.nodes) - 1; has(anyClone) && !n.fenced && i != last {
		add(evClone, i, last, 0)
	}
}

func (x *explorer) holderEvents(w *world, i int, room bool, has func(int) bool, add func(kind, node, a, b int)) {
	n := &w.nodes[i]
	if has(anySpend) && n.flights[maxFlights-1].units == 0 {
		for b := range int(x.cfg.buckets) {
			for _, units := range x.cfg.units {
				if n.held[b].rest() < int64(units) {
					continue
				}
				add(evSpend, i, b, int(units))
				if has(anyKeyed) && units == 1 {
					add(evSpend, i, b, 1|0x80)
				}
			}
		}
	}
	if has(anySend) && room {
		for b := range int(x.cfg.buckets) {
			for a := range x.cfg.asks {
				if n.held[b].fence == 0 && x.cfg.asks[a].want == 0 {
					continue // nothing to give back
				}
				add(evSend, i, b, a)
			}
		}
	}
	for b := range x.cfg.buckets {
		if x.cfg.forgets && n.mayForget(b) {
			add(evForget, i, int(b), 0)
		}
	}
}

// mayPass says whether the ledger's time may go on. Only for a ledger that learns it matters:
// it grants again when its time is over, and that is right once every process that still can
// spend has told it what it holds, and all that was used before is uploaded again. The ledger
// cannot know: it waits for as long as any process may spend without having spoken. One that
// is stopped for longer than that, or cannot reach the new ledger and does not heed its own
// deadline, spends what the new one does not know of: up to what was granted and not copied
// to the standby is then too much. A standby that lacks nothing (synchronous replication)
// has no such window.
func (x *explorer) mayPass(w *world) bool {
	s := &x.ledgers.all[w.ledger]
	if s.timeline == 0 || !s.now.Before(s.state.learning) {
		return true
	}
	for i := range x.cfg.nodes {
		n := &w.nodes[i]
		holds := n.held[0].fence > 0 || n.held[1].fence > 0
		if n.alive && (n.flights[0].units > 0 || holds && !n.fenced) && !n.spoke {
			return false
		}
		if s.state.logs[logName(i)].at < int64(n.end) {
			return false
		}
	}
	return true
}

func (e event) describe(w *world, x *explorer) string {
	place := "on " + string(rune('a'+e.node))
	switch e.kind {
	case evSpend:
		keyed := ""
		if e.b&0x80 != 0 {
			keyed = ", with the key"
		}
		return fmt.Sprintf("%s: spend %d of bucket %d%s", place, e.b&0x7f, e.a, keyed)
	case evDurable, evUndo:
		f := w.nodes[e.node].flights[e.a]
		return fmt.Sprintf("%s: %s %d of bucket %d of fence %d", place, map[uint8]string{evDurable: "make durable", evUndo: "undo"}[e.kind], f.units, f.bucket, f.fence)
	case evSend:
		return fmt.Sprintf("%s: ask for bucket %d: %+v", place, e.a, x.cfg.asks[e.b])
	case evDeliver, evDouble, evMute, evLose:
		return map[uint8]string{evDeliver: "deliver", evDouble: "deliver, and later again,", evMute: "deliver, and lose the answer to,", evLose: "lose"}[e.kind] + " " + w.net[e.a].describe()
	case evForget:
		return fmt.Sprintf("%s: forget the counter of bucket %d", place, e.a)
	case evRetire:
		return fmt.Sprintf("%s: retire process %d", place, w.nodes[e.node].formers[e.a].inc)
	case evClone:
		return fmt.Sprintf("%s: copy the process to %c", place, 'a'+e.a)
	case evCommit:
		return fmt.Sprintf("commit the reservation with %d, capped %d", e.a, e.b)
	}
	what := map[uint8]string{
		evUpload: "upload", evCrash: "kill -9", evPower: "lose power", evRestart: "start", evLearn: "learn the next revision",
		evTime: "time passes", evRoll: "the next period begins", evReplicate: "the standby is here", evFailover: "fail over to the standby",
		evReserve: "reserve", evRelease: "release",
	}[e.kind]
	if e.kind == evTime || e.kind == evRoll || e.kind == evReplicate || e.kind == evFailover {
		return what
	}
	return place + ": " + what
}

func (q *msg) describe() string {
	id := holderName(q.who, q.inc)
	switch q.kind {
	case kindExchange:
		return fmt.Sprintf("%s's exchange (bucket %d, rev %d, fence %d, granted %d, spent %d, need %d, want %d, seal %v)", id, q.bucket, q.rev, q.fence, q.granted, q.spent, q.need, q.want, q.seal)
	case kindReply:
		return fmt.Sprintf("the answer to %s (bucket %d, fence %d, failed %d, active %v, granted %d)", id, q.bucket, q.fence, q.failed, q.active, q.got)
	case kindUpload:
		return fmt.Sprintf("the upload of log %s, %d to %d", logName(q.node), q.from, q.to)
	}
	return fmt.Sprintf("the retirement of %s at %d", id, q.at)
}

// describe says all of a world, for people.
func (x *explorer) describe(w *world) string {
	var b strings.Builder
	s := &x.ledgers.all[w.ledger]
	for i := range x.cfg.buckets {
		k := s.state.buckets[bucketName(i)]
		if k == nil {
			continue
		}
		fmt.Fprintf(&b, "  bucket %d: amount %d rev %d used %d leased %d reserved %d forfeited %d admitted %d\n", i, k.amount, k.rev, k.used, k.leased, k.reserved, k.forfeited, w.admitted[i])
		for id, l := range k.leases {
			fmt.Fprintf(&b, "    %s %+v\n", id, *l)
		}
	}
	for i := range x.cfg.nodes {
		n := &w.nodes[i]
		fmt.Fprintf(&b, "  %c: %s alive %v fenced %v rev %d held %+v idle %+v flights %+v log %d–%d cursor %d\n", 'a'+i, holderName(n.who, n.inc), n.alive, n.fenced, n.rev, n.held[:x.cfg.buckets], n.idle[:x.cfg.buckets], n.flights, n.base, n.end, n.cursor)
	}
	return b.String()
}
