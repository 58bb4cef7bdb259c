package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota"
)

// A machine sends the same to a ledger and to a quota.Memory. Holders know their newest
// token most of the time, what they were granted, and sometimes say something else.
type machine struct {
	world  World
	model  *quota.Memory
	now    time.Time
	count  int
	tokens map[string]string
	held   map[leaseOf]tiergate.LeaseAsk
	logs   map[string]int64
	last   *tiergate.Exchange
	keeper keeper
}

type leaseOf struct {
	holder string
	bucket tiergate.Bucket
}

var (
	machineHolders = []string{"h1", "h2", "h3"}
	machineOwners  = []tiergate.Owner{"acme", "acme", "acme", "globex", ""}
	machineBuckets = []tiergate.Bucket{
		exports,
		{Limit: "exports", Scope: "user", Subject: "alice", Period: Today.ID},
		{Limit: "trainings", Scope: "team", Subject: "acme"},
		{Limit: "seats", Scope: "team", Subject: "acme"},
	}
)

func newMachine(w World) *machine {
	m := &machine{
		world: w, now: Start, tokens: map[string]string{}, held: map[leaseOf]tiergate.LeaseAsk{}, logs: map[string]int64{},
	}
	m.model = &quota.Memory{Now: func() time.Time { return m.now }}
	m.world.Reset()
	m.world.Set(Start)
	_, _ = m.model.Peek(context.Background(), nil) // its first life begins
	return m
}

func pick[T any](t *rapid.T, what string, of ...T) T { return rapid.SampledFrom(of).Draw(t, what) }

func few(t *rapid.T, what string, most int64) int64 { return rapid.Int64Range(0, most).Draw(t, what) }

// agree compares two answers and two errors.
func agree[T any](t *rapid.T, what string, want, got T, wantErr, gotErr error) {
	t.Helper()
	if tiergate.CodeOf(wantErr) != tiergate.CodeOf(gotErr) || errors.Is(wantErr, tiergate.ErrFenced) != errors.Is(gotErr, tiergate.ErrFenced) {
		t.Fatalf("%s: %v, and memory says %v", what, gotErr, wantErr)
	}
	wantShort, _ := errors.AsType[*tiergate.ShortError](wantErr)
	gotShort, _ := errors.AsType[*tiergate.ShortError](gotErr)
	if diff := cmp.Diff(wantShort, gotShort); diff != "" {
		t.Fatalf("%s: what is short mismatch (-memory +ledger):\n%s", what, diff)
	}
	wantNotNow, _ := errors.AsType[*tiergate.NotNowError](wantErr)
	gotNotNow, _ := errors.AsType[*tiergate.NotNowError](gotErr)
	if diff := cmp.Diff(wantNotNow, gotNotNow); diff != "" {
		t.Fatalf("%s: why not now mismatch (-memory +ledger):\n%s", what, diff)
	}
	if diff := cmp.Diff(want, got, asKept...); diff != "" {
		t.Fatalf("%s: mismatch (-memory +ledger):\n%s", what, diff)
	}
}

// check compares the sums of both, and each with what they follow from.
func (m *machine) check(t *rapid.T) {
	sums := m.world.Sums()
	for _, s := range sums {
		if s.Kept != s.Followed {
			t.Fatalf("bucket %+v keeps %+v, and what hangs on it says %+v", s.Bucket, s.Kept, s.Followed)
		}
	}
	m.keeper.check(t, sums)
	asks := make([]tiergate.LeaseAsk, len(machineBuckets))
	for i, b := range machineBuckets {
		asks[i] = tiergate.LeaseAsk{Bucket: b, Amount: 1000}
	}
	want, wantErr := m.model.Peek(context.Background(), asks)
	got, gotErr := m.world.Ledger.Peek(context.Background(), asks)
	agree(t, "peek", want, got, wantErr, gotErr)
}

func (m *machine) wait(t *rapid.T) {
	m.now = m.now.Add(pick(t, "wait", time.Millisecond, time.Second, 4*time.Second, 6*time.Second, 11*time.Second, 16*time.Second, time.Hour))
	m.world.Set(m.now)
}

func (m *machine) failover(t *rapid.T) {
	if rapid.IntRange(0, 2).Draw(t, "rarely") > 0 {
		t.Skip("not now")
	}
	m.model.Failover()
	m.world.Failover()
}

// exchange is the next message of a holder, or one that it should not send.
func (m *machine) exchange(t *rapid.T) {
	holder := pick(t, "holder", machineHolders...)
	m.count++
	x := tiergate.Exchange{Holder: holder, Previous: m.tokens[holder], Token: fmt.Sprint("t", m.count)}
	if rapid.IntRange(0, 15).Draw(t, "knows no token") == 0 {
		x.Previous = pick(t, "previous", "", "t1", "t2")
	}
	for _, b := range machineBuckets[:3] {
		if rapid.Bool().Draw(t, "asks") {
			x.Asks = append(x.Asks, m.ask(t, holder, b))
		}
	}
	for _, subject := range []string{"acme", "globex"} {
		if rapid.IntRange(0, 3).Draw(t, "rate") == 0 {
			x.Rates = append(x.Rates, tiergate.RateAsk{Bucket: tiergate.Bucket{Limit: "calls", Scope: "team", Subject: subject}, Amount: 10})
		}
	}
	m.send(t, x)
	m.last = &x
}

// again sends the newest message once more, as it was.
func (m *machine) again(t *rapid.T) {
	if m.last == nil {
		t.Skip("nothing was sent yet")
	}
	m.send(t, *m.last)
}

// send sends a message to both, and returns the answer; none when it was refused.
func (m *machine) send(t *rapid.T, x tiergate.Exchange) tiergate.Exchanged {
	want, wantErr := m.model.Exchange(context.Background(), x)
	got, gotErr := m.world.Ledger.Exchange(context.Background(), x)
	agree(t, "exchange", want, got, wantErr, gotErr)
	if gotErr != nil {
		return tiergate.Exchanged{}
	}
	m.tokens[x.Holder] = x.Token
	for i, ask := range x.Asks {
		ask.Granted = got.Answers[i].Granted
		if got.Answers[i].State == tiergate.LeaseSealed {
			ask.Fence++
			ask.Granted = ask.Spent
		}
		m.held[leaseOf{x.Holder, ask.Bucket}] = ask
	}
	return got
}

func (m *machine) ask(t *rapid.T, holder string, b tiergate.Bucket) tiergate.LeaseAsk {
	a := m.held[leaseOf{holder, b}]
	a.Bucket, a.Period, a.Seal = b, tiergate.Period{}, false
	if b.Period != "" {
		a.Period = pick(t, "period", Today, Today, Today, tiergate.Period{ID: Today.ID, Start: Today.End}, tiergate.Period{ID: Today.ID, End: Start})
	}
	a.Fence = max(1, a.Fence+pick(t, "fence", int64(0), 0, 0, 0, 1, -1))
	a.Amount, a.Rev = 20, 1
	if rapid.IntRange(0, 4).Draw(t, "changed") == 0 {
		a.Amount, a.Rev = few(t, "amount", 40), few(t, "rev", 3)
	}
	if rapid.IntRange(0, 9).Draw(t, "errs") == 0 {
		a.Granted = few(t, "granted", 30)
	}
	a.Spent += few(t, "spends", max(0, a.Granted-a.Spent))
	a.Need = few(t, "need", 6)
	a.Least = few(t, "least", a.Need)
	a.Want = a.Need + few(t, "want", 8)
	a.Seal = rapid.IntRange(0, 4).Draw(t, "seal") == 0
	return a
}

func (m *machine) retire(t *rapid.T) {
	holder := pick(t, "holder", machineHolders...)
	m.count++
	r := tiergate.Retirement{Holder: holder, Previous: m.tokens[holder], Token: fmt.Sprint("t", m.count), Log: pick(t, "log", "l1", "l2"), At: pick[int64](t, "at", 0, 100, 200)}
	if rapid.IntRange(0, 7).Draw(t, "knows no token") == 0 {
		r.Previous = "t0"
	}
	wantErr, gotErr := m.model.Retire(context.Background(), r), m.world.Ledger.Retire(context.Background(), r)
	agree(t, "retire", 0, 0, wantErr, gotErr)
}

func (m *machine) upload(t *rapid.T) {
	log := pick(t, "log", "l1", "l2")
	from := m.logs[log]
	if rapid.IntRange(0, 5).Draw(t, "elsewhere") == 0 {
		from = pick[int64](t, "from", 0, 100, 700)
	}
	b := batch(log, from)
	for range rapid.IntRange(0, 4).Draw(t, "events") {
		b.Usage = append(b.Usage, m.usage(t))
	}
	if rapid.Bool().Draw(t, "denied") {
		b.Denials = append(b.Denials, tiergate.Denial{Hour: Start, TeamID: "acme", Feature: "exports", Reason: tiergate.UseExhausted, Count: 3})
	}
	want, wantErr := m.model.Upload(context.Background(), b)
	got, gotErr := m.world.Ledger.Upload(context.Background(), b)
	agree(t, "upload", want, got, wantErr, gotErr)
	m.logs[log] = got.At
}

func (m *machine) usage(t *rapid.T) tiergate.Usage {
	u := tiergate.Usage{ID: "e", At: m.now, TeamID: "acme", Feature: "exports", Units: few(t, "units", 4), Events: 1}
	for range rapid.IntRange(0, 2).Draw(t, "spends") {
		u.Spends = append(u.Spends, tiergate.Spend{
			Bucket: pick(t, "bucket", machineBuckets[:3]...), Holder: pick(t, "for", "", "h1", "h2", "h3", "stranger"), Units: few(t, "units", 4),
		})
	}
	if rapid.Bool().Draw(t, "has a key") {
		u.Key = &tiergate.UsageKey{Scope: pick(t, "scope", "acme", ""), Key: pick(t, "key", "k1", "k2", "k3"), Fingerprint: pick(t, "fingerprint", "f", "f", "f", "g")}
	}
	return u
}

func (m *machine) reserve(t *rapid.T) {
	r := tiergate.Reservation{
		ID: pick(t, "id", "r1", "r2", "r3", "r4", "r5", "r6"), Owner: pick(t, "owner", machineOwners...), TeamID: "acme", UserID: "alice", Feature: "trainings",
		Fingerprint: pick(t, "fingerprint", "f", "f", "f", "g"),
	}
	for _, b := range machineBuckets[:3] {
		if rapid.Bool().Draw(t, "holds") {
			h := tiergate.Hold{Bucket: b, Kind: pick(t, "kind", tiergate.Quota, tiergate.Concurrency), Units: few(t, "units", 6), Amount: 20, Rev: few(t, "rev", 2)}
			if b.Period != "" {
				h.Period = pick(t, "period", Today, Today, tiergate.Period{ID: Today.ID, End: Start})
			}
			r.Holds = append(r.Holds, h)
		}
	}
	ttl := pick(t, "ttl", 2*time.Second, 10*time.Second, time.Hour)
	want, wantErr := m.model.Reserve(context.Background(), r, ttl)
	got, gotErr := m.world.Ledger.Reserve(context.Background(), r, ttl)
	agree(t, "reserve", want, got, wantErr, gotErr)
}

func (m *machine) settle(t *rapid.T) {
	id := pick(t, "id", "r1", "r2", "r3", "r4", "r5", "r6")
	by := pick(t, "by", machineOwners...)
	ttl := pick(t, "ttl", time.Second, 20*time.Second)
	actual, capped := rapid.Int64Range(-2, 12).Draw(t, "actual"), rapid.Bool().Draw(t, "capped")
	how := pick(t, "how", "extend", "commit", "commit", "release", "read")
	do := func(l tiergate.ReservationLedger) (tiergate.Reservation, error) {
		switch how {
		case "extend":
			return l.Extend(context.Background(), id, by, ttl)
		case "commit":
			return l.Commit(context.Background(), id, by, actual, capped)
		case "release":
			return l.Release(context.Background(), id, by)
		}
		return l.Reservation(context.Background(), id, by)
	}
	want, wantErr := do(m.model)
	got, gotErr := do(m.world.Ledger)
	agree(t, how, want, got, wantErr, gotErr)
}

func (m *machine) gauge(t *rapid.T) {
	seats := machineBuckets[3]
	item := pick(t, "item", "a", "b", "c", "d")
	switch pick(t, "how", "add", "add", "remove", "replace") {
	case "add":
		amount, rev := few(t, "amount", 4), few(t, "rev", 3)
		want, wantErr := m.model.Add(context.Background(), seats, item, amount, rev)
		got, gotErr := m.world.Ledger.Add(context.Background(), seats, item, amount, rev)
		agree(t, "add", want, got, wantErr, gotErr)
	case "remove":
		want, wantErr := m.model.Remove(context.Background(), seats, item)
		got, gotErr := m.world.Ledger.Remove(context.Background(), seats, item)
		agree(t, "remove", want, got, wantErr, gotErr)
	default:
		items := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), 0, 5).Draw(t, "items")
		wantAdded, wantRemoved, wantErr := m.model.Replace(context.Background(), seats, items)
		added, removed, gotErr := m.world.Ledger.Replace(context.Background(), seats, items)
		agree(t, "replace", [2]int64{wantAdded, wantRemoved}, [2]int64{added, removed}, wantErr, gotErr)
	}
}

// Machine runs the state machine in a world.
func Machine(t rapid.TB, w World) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(w)
		t.Repeat(map[string]func(*rapid.T){
			"": m.check, "exchange": m.exchange, "exchange 2": m.exchange, "again": m.again, "retire": m.retire, "upload": m.upload,
			"reserve": m.reserve, "settle": m.settle, "gauge": m.gauge, "wait": m.wait, "failover": m.failover,
			"keeper uses": m.keeperUses, "keeper uploads": m.keeperUploads, "keeper forgets": m.keeperForgets,
		})
	})
}
