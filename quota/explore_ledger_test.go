package quota

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tiergate/tiergate"
)

// The ledger's side of the explorer. Every state of the real Memory that is reached has a
// number, and every call on a numbered state is made once and remembered: a world then holds
// its ledger as one number, and equal ledgers are equal numbers.

// The ledger's times in a world: a period ends at the epoch plus an hour, the next begins.
var (
	epoch    = time.Unix(1_800_000_000, 0).UTC()
	boundary = epoch.Add(time.Hour)
	// lapse is longer than anything that the ledger waits for.
	lapse = TTL + Grace + time.Second
)

const holdTTL = time.Second // of a reservation

// A snapshot is one state of a ledger.
type snapshot struct {
	state    memoryState
	now      time.Time
	timeline int64
	fault    string // what is wrong with it; "" for nothing
}

// A call is one message at one ledger; an outcome what came of it.
type call struct {
	ledger  int32
	msg     msg
	records [maxLog]record // of an upload
}

type outcome struct {
	ledger int32
	reply  msg
	fault  string
}

// ledgers numbers the states of a ledger.
type ledgers struct {
	cfg    *configuration
	byKey  map[string]int32
	all    []snapshot
	cached map[call]outcome
}

func newLedgers(cfg *configuration) *ledgers {
	l := &ledgers{cfg: cfg, byKey: map[string]int32{}, cached: map[call]outcome{}}
	m := Memory{Now: func() time.Time { return epoch }}
	m.lock()
	m.mu.Unlock()
	l.number(m.memoryState, epoch, 0)
	return l
}

func holderName(who, inc uint8) string { return names[who][min(int(inc), len(names[who])-1)] }

var names = func() (n [maxNodes][64]string) {
	for who := range n {
		for inc := range n[who] {
			n[who][inc] = string(rune('A'+who)) + strconv.Itoa(inc)
		}
	}
	return n
}()

func logName(node uint8) string { return string(rune('a' + node)) }

func bucketName(b uint8) tiergate.Bucket {
	return tiergate.Bucket{Limit: "l", Scope: "team", Subject: "s", Period: string(rune('0' + b))}
}

// period is when a bucket counts: all the time, or one of two after each other.
func (c *configuration) period(b uint8) tiergate.Period {
	switch {
	case !c.periods:
		return tiergate.Period{}
	case b == 0:
		return tiergate.Period{ID: "0", End: boundary}
	}
	return tiergate.Period{ID: "1", Start: boundary}
}

// number returns the number of a state.
func (l *ledgers) number(s memoryState, now time.Time, timeline int64) int32 {
	key := string(appendLedger(nil, &s, now, timeline))
	if n, ok := l.byKey[key]; ok {
		return n
	}
	n := int32(len(l.all))
	l.all = append(l.all, snapshot{s, now, timeline, l.cfg.wrongInLedger(&s)})
	l.byKey[key] = n
	return n
}

// appendLedger writes everything that can make a difference later. Of times this is only
// what they are compared for: time goes on in steps that are longer than any of them.
func appendLedger(k []byte, s *memoryState, now time.Time, timeline int64) []byte {
	flags := func(bits ...bool) {
		n := byte(0)
		for i, b := range bits {
			if b {
				n |= 1 << i
			}
		}
		k = append(k, n)
	}
	num := func(n int64) { k = binary.AppendVarint(k, n) }
	text := func(t string) { k = append(append(k, t...), 0) }
	num(timeline)
	num(s.seen)
	flags(now.Before(s.learning), now.Before(boundary))
	for _, key := range slices.SortedFunc(maps.Keys(s.buckets), compareBuckets) {
		b := s.buckets[key]
		text(key.Period)
		for _, n := range []int64{b.amount, b.rev, b.used, b.leased, b.reserved, b.forfeited, s.usage[key]} {
			num(n)
		}
		for _, id := range slices.Sorted(maps.Keys(b.leases)) {
			lease := b.leases[id]
			text(id)
			text(string(lease.state))
			num(lease.fence)
			num(lease.granted)
			num(lease.reported)
		}
	}
	k = append(k, '|')
	for _, id := range slices.Sorted(maps.Keys(s.holders)) {
		h := s.holders[id]
		text(id)
		text(h.token)
		flags(h.timeline == s.seen, now.After(h.expires.Add(Grace)), h.lost, h.retired)
	}
	k = append(k, '|')
	for _, id := range slices.Sorted(maps.Keys(s.logs)) {
		text(id)
		num(s.logs[id].at)
		text(s.logs[id].hash)
	}
	num(int64(len(s.keys)))
	for key, r := range s.reservations { // there is one at most
		text(key.id)
		text(string(r.State))
		num(r.Actual)
		flags(now.Before(r.ExpiresAt))
	}
	return k
}

// call makes a call, once.
func (l *ledgers) call(c call) outcome {
	if out, ok := l.cached[c]; ok {
		return out
	}
	before := &l.all[c.ledger]
	m := Memory{Now: func() time.Time { return before.now }, memoryState: before.state.clone(), timeline: before.timeline}
	now := before.now
	reply := c.msg
	var fault string
	switch c.msg.kind {
	case kindExchange:
		reply, fault = l.exchange(&m, &c.msg)
	case kindUpload:
		reply = l.upload(&m, &c)
	case kindRetire:
		err := m.Retire(context.Background(), tiergate.Retirement{
			Holder: holderName(c.msg.who, c.msg.inc), Previous: tokenName(c.msg.previous), Token: tokenName(c.msg.token),
			Log: logName(c.msg.node), At: int64(c.msg.at),
		})
		reply.failed = codeOf(err)
	case kindReserve, kindCommit, kindRelease:
		reply = l.reservation(&m, &c.msg)
	case kindTime:
		now = now.Add(lapse)
	case kindRoll:
		if now = now.Add(lapse); now.Before(boundary) {
			now = boundary
		}
	case kindFailover:
		m.timeline++
		m.lock()
		m.mu.Unlock()
	}
	out := outcome{l.number(m.memoryState, now, m.timeline), reply, fault}
	l.cached[c] = out
	return out
}

func (l *ledgers) exchange(m *Memory, q *msg) (msg, string) {
	key := bucketName(q.bucket)
	before := m.bucket(key).aside()
	got, err := m.Exchange(context.Background(), tiergate.Exchange{
		Holder: holderName(q.who, q.inc), Previous: tokenName(q.previous), Token: tokenName(q.token),
		Asks: []tiergate.LeaseAsk{l.cfg.ask(q)},
	})
	reply := *q
	reply.kind, reply.failed = kindReply, codeOf(err)
	if err != nil {
		return reply, ""
	}
	a := got.Answers[0]
	reply.active, reply.got = a.State == tiergate.LeaseActive, int16(a.Granted)
	b := m.buckets[key]
	copied := l.cfg.budget[anyClone] > 0 // two have spent the same: see world.slack
	if b.aside() > before && b.aside() > b.amount && m.timeline == 0 && !copied {
		return reply, fmt.Sprintf("the ledger sets aside more (%d, before %d) than the newest amount %d", b.aside(), before, b.amount)
	}
	if a.OutOfPeriod && b.aside() > before && m.timeline == 0 {
		return reply, "units were granted out of the period"
	}
	if a.Learning && a.Granted > int64(max(q.granted, q.spent)) && b.aside() > before {
		return reply, "units were granted while learning"
	}
	return reply, ""
}

// aside is everything of the bucket that nobody else can get.
func (b *bucket) aside() int64 { return b.used + b.leased + b.reserved + b.forfeited }

// ask makes the real words of what a message says about a lease.
func (c *configuration) ask(q *msg) tiergate.LeaseAsk {
	return tiergate.LeaseAsk{
		Bucket: bucketName(q.bucket), Period: c.period(q.bucket), Amount: c.amounts[q.rev], Rev: int64(q.rev) + 1,
		Fence: int64(q.fence), Granted: int64(q.granted), Spent: int64(q.spent),
		Need: int64(q.need), Least: int64(q.least), Want: int64(q.want), Seal: q.seal,
	}
}

func (l *ledgers) upload(m *Memory, c *call) msg {
	batch := tiergate.UsageBatch{Log: logName(c.msg.node), From: int64(c.msg.from), To: int64(c.msg.to), Before: hashAt(c.msg.from), After: hashAt(c.msg.to)}
	for i := range int(c.msg.to - c.msg.from) {
		r := c.records[i]
		u := tiergate.Usage{Units: int64(r.units), Events: 1, Spends: []tiergate.Spend{{Bucket: bucketName(r.bucket), Holder: holderName(r.who, r.inc), Units: int64(r.units)}}}
		if r.keyed {
			u.Key = &tiergate.UsageKey{Scope: "team", Key: "k", Fingerprint: "f"}
		}
		batch.Usage = append(batch.Usage, u)
	}
	got, _ := m.Upload(context.Background(), batch)
	reply := c.msg
	reply.at, reply.got = uint16(got.At), int16(got.Duplicates)
	return reply
}

// hashAt is the hash of a log up to a place. No log has two histories here.
func hashAt(at uint16) string {
	if at == 0 {
		return ""
	}
	return strconv.Itoa(int(at))
}

func (l *ledgers) reservation(m *Memory, q *msg) msg {
	var err error
	switch q.kind {
	case kindReserve:
		_, err = m.Reserve(context.Background(), tiergate.Reservation{ID: "r", Owner: "s", TeamID: "s", Holds: []tiergate.Hold{{
			Bucket: bucketName(0), Kind: tiergate.Quota, Units: int64(q.need), Amount: l.cfg.amounts[q.rev], Rev: int64(q.rev) + 1,
		}}}, holdTTL)
	case kindCommit:
		_, err = m.Commit(context.Background(), "r", "s", int64(q.spent), q.seal)
	case kindRelease:
		_, err = m.Release(context.Background(), "r", "s")
	}
	reply := *q
	reply.failed = codeOf(err)
	return reply
}

// What a call failed with.
const (
	fine = iota
	fenced
	refused
)

func codeOf(err error) uint8 {
	switch {
	case err == nil:
		return fine
	case errors.Is(err, tiergate.ErrFenced):
		return fenced
	}
	return refused
}

func tokenName(n uint16) string {
	if n == 0 {
		return ""
	}
	return tokens[n]
}

var tokens = func() (t [4096]string) {
	for i := range t {
		t[i] = string([]byte{byte(i>>6)&0x3f + '0', byte(i)&0x3f + '0'})
	}
	return t
}()

func tokenNumber(t string) uint16 {
	if t == "" {
		return 0
	}
	return uint16(t[0]-'0')<<6 | uint16(t[1]-'0')
}
