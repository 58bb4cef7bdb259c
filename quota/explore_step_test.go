package quota

// step makes one event happen to a copy of a world, and says what is wrong with it.
func (x *explorer) step(from *world, e event) (w world, fault string) {
	w = *from
	n := &w.nodes[e.node]
	switch e.kind {
	case evSpend:
		fault = x.spend(&w, n, e.a, e.b)
	case evDurable:
		w.record(n, int(e.a))
	case evUndo:
		w.left[anyUndo]--
		f := n.takeFlight(int(e.a))
		if f.inc == n.inc && !n.fenced {
			n.held[f.bucket].undo(int64(f.units), f.fence)
		}
	case evSend:
		w.left[anySend]--
		w.put(x.send(&w, e.node, e.a, x.cfg.asks[e.b]))
	case evDeliver, evDouble, evMute:
		fault = x.deliver(&w, e)
	case evLose:
		w.left[anyLoss]--
		w.net[e.a] = msg{}
	case evUpload:
		if n.cursor == n.end {
			n.cursor = n.base // the ledger may have lost some of it: offer all
		}
		w.put(n.uploadOf(e.node))
	case evRetire:
		w.put(n.retirementOf(e.node, int(e.a)))
	case evCrash, evPower:
		w.crash(n, e)
	case evRestart:
		n.restart()
	case evForget:
		n.forget(x.cfg, e.a)
	case evLearn:
		w.left[anyLearn]--
		n.rev++
	case evClone:
		w.clone(n, e.a)
	default:
		x.atLedger(&w, e)
	}
	return w, fault
}

// spend takes units for a caller. Under a lower amount the holding may drop instead.
func (x *explorer) spend(w *world, n *node, bucket, what uint8) string {
	units, keyed := what&0x7f, what&0x80 != 0
	h := &n.held[bucket]
	if !h.spend(int64(units), x.cfg.amounts[n.rev]) {
		return ""
	}
	w.left[anySpend]--
	if keyed {
		w.left[anyKeyed]--
	}
	for i := range n.flights {
		if n.flights[i].units == 0 {
			n.flights[i] = flight{units, bucket, n.inc, keyed, h.fence}
			break
		}
	}
	switch {
	case n.fenced:
		return "a fenced holder spends"
	case h.sealed:
		return "units are spent under a sealed fence"
	case w.left[anyFailover] < x.cfg.budget[anyFailover] || !x.monotone:
		return ""
	}
	most, taken := int64(0), int64(w.admitted[bucket])
	for i := range x.cfg.nodes {
		o := &w.nodes[i]
		if !o.fenced {
			most = max(most, x.cfg.amounts[o.rev])
		}
		for _, f := range o.flights {
			if f.bucket == bucket {
				taken += int64(f.units)
			}
		}
	}
	if taken > most+int64(w.slack[bucket])+int64(w.keyed) {
		return "more is spent than the largest amount that anybody still knows"
	}
	return ""
}

func (n *node) takeFlight(i int) flight {
	f := n.flights[i]
	copy(n.flights[i:], n.flights[i+1:])
	n.flights[maxFlights-1] = flight{}
	return f
}

func (w *world) record(n *node, i int) {
	f := n.takeFlight(i)
	n.log[n.end-n.base] = record{f.units, f.bucket, n.who, f.inc, f.keyed}
	n.end++
	w.admitted[f.bucket] += uint16(f.units)
	if f.keyed {
		w.keyed++
	}
}

// put sends a message; there is room.
func (w *world) put(q msg) {
	for i := range w.net {
		if w.net[i].kind == kindNone {
			w.net[i] = q
			return
		}
	}
	panic("there is no room for a message")
}

// send makes an exchange as the engine does: from what is spent by now, with the tokens of
// the one before while that one was not answered. Whatever was sent before is not awaited.
func (x *explorer) send(w *world, i, bucket uint8, ask wish) msg {
	n := &w.nodes[i]
	x.abandon(w, i)
	n.open(bucket)
	n.unheard[bucket] = true
	h := &n.held[bucket]
	q := msg{kind: kindExchange, node: i, who: n.who, inc: n.inc, current: true, bucket: bucket, rev: n.rev, need: ask.need, least: ask.least, want: ask.want}
	a := h.ask(x.cfg.ask(&q))
	q.fence, q.granted, q.spent, q.seal = int16(a.Fence), int16(a.Granted), int16(a.Spent), a.Seal
	previous, token := n.chain.next(func() string {
		n.minted++
		return tokens[uint16(i)<<10|n.minted] // a copy mints others
	})
	q.previous, q.token = tokenNumber(previous), tokenNumber(token)
	return q
}

// abandon makes a process no longer wait for the answer to what it has sent.
func (x *explorer) abandon(w *world, i uint8) {
	for j := range w.net {
		q := &w.net[j]
		if q.node == i && q.inc == w.nodes[i].inc && (q.kind == kindExchange || q.kind == kindReply) {
			q.current = false
			if q.kind == kindReply && !x.cfg.late {
				*q = msg{}
			}
		}
	}
}

func (n *node) uploadOf(i uint8) msg {
	return msg{kind: kindUpload, node: i, from: n.cursor, to: n.end}
}

func (n *node) retirementOf(i uint8, which int) msg {
	f := n.formers[which]
	return msg{kind: kindRetire, node: i, who: n.who, inc: f.inc, previous: f.previous, token: f.token, at: f.end}
}

// call makes a call on the world's ledger.
func (x *explorer) call(w *world, q msg) (msg, string) {
	current := q.current
	c := call{ledger: w.ledger, msg: q}
	c.msg.current = false
	if q.kind == kindUpload {
		n := &w.nodes[q.node]
		if q.from < n.base { // what the ledger has is gone from the log: this batch is late
			c.msg.to = q.from
		} else {
			copy(c.records[:q.to-q.from], n.log[q.from-n.base:])
		}
	}
	out := x.ledgers.call(c)
	w.ledger = out.ledger
	out.reply.current = current
	return out.reply, out.fault
}

func (x *explorer) deliver(w *world, e event) string {
	q := w.net[e.a]
	switch e.kind {
	case evDeliver:
		w.net[e.a] = msg{}
	case evMute:
		w.left[anyLoss]--
		w.net[e.a] = msg{}
	case evDouble:
		w.left[anyDouble]--
	}
	n := &w.nodes[q.node]
	if q.kind == kindReply {
		before := n.held[q.bucket].rest()
		x.hear(n, &q)
		if q.current {
			x.abandon(w, q.node)
		}
		if q.token == w.shared { // both hear an answer
			w.slack[q.bucket] += uint16(max(0, n.held[q.bucket].rest()-before))
		}
		return ""
	}
	reply, fault := x.call(w, q)
	switch q.kind {
	case kindExchange:
		if n.alive && n.inc == q.inc && n.who == q.who && (q.current || x.cfg.late) {
			w.put(reply)
		}
	case kindUpload:
		w.dups += uint16(reply.got)
		if n.alive && e.kind != evMute {
			x.uploaded(w, q.node, reply.at)
		}
	case kindRetire:
		if n.alive && e.kind != evMute {
			n.retired(&reply)
		}
	}
	return fault
}

// hear takes in an answer.
func (x *explorer) hear(n *node, q *msg) {
	if !n.alive || n.inc != q.inc || n.fenced {
		return
	}
	if q.failed != fine {
		if !q.current {
			return
		}
		n.fenced = true
		n.abandoned |= 1 << n.inc
		return
	}
	ask := x.cfg.ask(q)
	answer := answerOf(q)
	n.held[q.bucket].heed(&ask, &answer)
	if q.current {
		n.chain.answered()
		n.unheard[q.bucket] = false
		n.spoke = true
	}
}

// uploaded is how far the ledger has counted a log. What it has is gone from the log, unless
// the standby lacks it: then it is sent again after a failover.
func (x *explorer) uploaded(w *world, i uint8, at uint16) {
	n := &w.nodes[i]
	n.cursor = min(max(at, n.base), n.end)
	keep := n.cursor
	if w.standby >= 0 {
		keep = min(keep, uint16(x.ledgers.all[w.standby].state.logs[logNames[i]].at))
	}
	if keep <= n.base {
		return
	}
	gone := keep - n.base
	copy(n.log[:], n.log[gone:])
	clear(n.log[maxLog-gone:])
	n.base = keep
}

func (n *node) retired(reply *msg) {
	for i := range n.formers {
		f := &n.formers[i]
		if !f.there || f.inc != reply.inc {
			continue
		}
		switch reply.failed {
		case refused: // not counted: it is sent again
			n.cursor = n.base
			return
		case fenced:
			n.abandoned |= 1 << f.inc
		}
		*f = former{}
	}
}

// crash ends a process. What is durable stays, and the counters are trusted unless the power
// was lost.
func (w *world) crash(n *node, e event) {
	if e.kind == evPower {
		w.left[anyPower]--
	} else {
		w.left[anyCrash]--
	}
	gone := former{inc: n.inc, previous: tokenNumber(n.chain.previous), token: tokenNumber(n.chain.token), end: n.end, there: true}
	if gone.token == 0 { // the file says the last message's
		gone.token = gone.previous
	}
	trusted := e.kind == evCrash && !n.fenced
	for i := range n.formers {
		if trusted && !n.formers[i].there {
			n.formers[i], trusted = gone, false
			break
		}
	}
	if trusted || e.kind == evPower {
		n.abandoned |= 1 << n.inc
	}
	if e.kind == evPower { // nor are the files of those before
		for i := range n.formers {
			if n.formers[i].there {
				n.abandoned |= 1 << n.formers[i].inc
			}
		}
		n.formers = [maxFormers]former{}
	}
	n.alive, n.fenced, n.spoke = false, false, false
	n.held, n.idle, n.unheard = [maxBuckets]holding{}, [maxBuckets]trace{}, [maxBuckets]bool{}
	n.flights, n.chain, n.minted = [maxFlights]flight{}, chain{}, 0
	n.cursor = n.base
}

func (n *node) restart() {
	n.alive, n.inc = true, n.next
	n.next++
}

// clone copies a process to another place, with all that it holds: from then on there are two
// who think that it is theirs. What both have at hand by then may be spent twice, and so may
// what they get with a message that was sent before, and no more: the next message of one of
// them has the other fenced.
func (w *world) clone(n *node, to uint8) {
	w.left[anyClone]--
	c := &w.nodes[to]
	*c = node{alive: true, who: n.who, inc: n.inc, next: 0, rev: n.rev, chain: n.chain, held: n.held, idle: n.idle, unheard: n.unheard}
	w.shared = tokenNumber(n.chain.token)
	for b := range n.held {
		w.slack[b] += uint16(n.held[b].rest())
	}
	for _, f := range n.flights {
		w.slack[f.bucket] += uint16(f.units)
	}
}

// atLedger is what happens to the ledger, and what it is called for at once.
func (x *explorer) atLedger(w *world, e event) {
	q := msg{rev: w.nodes[e.node].rev, need: int16(e.a), spent: int16(e.a), seal: e.b == 1}
	switch e.kind {
	case evTime, evRoll:
		q = msg{kind: kindTime}
		if e.kind == evRoll {
			q.kind, w.rolled = kindRoll, true
		} else {
			w.left[anyTime]--
		}
		if w.standby >= 0 {
			w.standby = x.ledgers.call(call{ledger: w.standby, msg: q}).ledger
		}
	case evReplicate:
		w.standby = w.ledger
		return
	case evFailover:
		x.failover(w)
		return
	case evReserve:
		w.left[anyReserve]--
		q.kind, q.spent, q.seal = kindReserve, 0, false
	case evCommit:
		w.left[anyReserve]--
		q.kind, q.need, q.rev = kindCommit, 0, 0
	case evRelease:
		w.left[anyReserve]--
		q = msg{kind: kindRelease}
	}
	w.ledger = x.ledgers.call(call{ledger: w.ledger, msg: q}).ledger
}

// failover puts the standby in place. Calls that were under way fail; their messages may
// arrive at the new ledger all the same.
func (x *explorer) failover(w *world) {
	w.left[anyFailover]--
	w.ledger, w.standby = x.ledgers.call(call{ledger: w.standby, msg: msg{kind: kindFailover}}).ledger, -1
	for i := range w.net {
		w.net[i].current = false
		if w.net[i].kind == kindReply {
			w.net[i] = msg{}
		}
	}
	for i := range w.nodes {
		w.nodes[i].spoke = false
	}
}
