package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/postgres/pgtest"
	"github.com/tiergate/tiergate/quota/ledgertest"
)

// An outage is a world in which the holder "gone" took 6 of 10, reported 2 of them as used,
// and was never heard of again; "here" is alive and has 1.
type outage struct {
	ledgertest.World
	admin  *postgres.DB
	bucket tiergate.Bucket
	url    string
}

func newOutage(t *testing.T) *outage {
	t.Helper()
	o := &outage{url: pgtest.New(t), bucket: tiergate.Bucket{Limit: "exports", Scope: "team", Subject: "acme", Period: "2026-11"}}
	o.World = worldOf(t, o.url)
	o.admin = open(t, pgtest.As(t, o.url, "tiergate_admin"))
	o.Reset()
	o.Set(ledgertest.Start)
	o.ask(t, "gone", "", "a", 6)
	o.upload(t, 0, tiergate.Usage{ID: "e", At: ledgertest.Start, TeamID: "acme", Feature: "exports", Units: 2, Events: 1, Spends: []tiergate.Spend{{Bucket: o.bucket, Holder: "gone", Units: 2}}})
	o.Set(ledgertest.Start.Add(16 * time.Second))
	o.ask(t, "here", "", "x", 1)
	return o
}

func (o *outage) ask(t *testing.T, holder, previous, token string, need int64) {
	t.Helper()
	_, err := o.Ledger.Exchange(t.Context(), tiergate.Exchange{Holder: holder, Previous: previous, Token: token, Asks: []tiergate.LeaseAsk{
		{Bucket: o.bucket, Amount: 10, Rev: 1, Fence: 1, Need: need, Least: 1, Want: need},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func (o *outage) upload(t *testing.T, from int64, u tiergate.Usage) {
	t.Helper()
	b := tiergate.UsageBatch{Log: "log", From: from, To: from + 1, Usage: []tiergate.Usage{u}, Lost: from > 0}
	if up, err := o.Ledger.Upload(t.Context(), b); err != nil || up.At != b.To {
		t.Fatalf("%+v, %v", up, err)
	}
}

// state is the bucket, and fails the test unless it is the sum of what hangs on it.
func (o *outage) state(t *testing.T) ledgertest.Counted {
	t.Helper()
	sums := o.Sums()
	ledgertest.Check(t, sums)
	return sums[0].Kept
}

// An operator sees what is set aside for whom, and who is lost.
func TestLeases_are_visible(t *testing.T) {
	o := newOutage(t)
	counted := tiergate.BucketState{Bucket: o.bucket, Amount: 10, Used: 2, Leased: 1, Forfeited: 4}
	gone := tiergate.HeldLease{Holder: "gone", State: tiergate.LeaseForfeit, Granted: 6, Reported: 2, Aside: 4, HeardAt: ledgertest.Start, Lost: true, Counted: counted}
	here := tiergate.HeldLease{Holder: "here", State: tiergate.LeaseActive, Granted: 1, Aside: 1, HeardAt: ledgertest.Start.Add(16 * time.Second), Counted: counted}
	first, err := o.admin.Leases(t.Context(), tiergate.LeaseFilter{}, tiergate.Page{Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	second, err := o.admin.Leases(t.Context(), tiergate.LeaseFilter{}, tiergate.Page{Size: 1, Token: first.Next})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]tiergate.HeldLease{gone, here}, append(first.Items, second.Items...)); diff != "" || second.Next != "" {
		t.Errorf("leases mismatch (-want +got):\n%s", diff)
	}
	for _, f := range []tiergate.LeaseFilter{{Holder: "gone"}, {State: tiergate.LeaseForfeit}, {Limit: "exports", Subject: "acme", Holder: "gone"}} {
		if got, err := o.admin.Leases(t.Context(), f, tiergate.Page{}); err != nil || len(got.Items) != 1 || got.Items[0].Holder != "gone" {
			t.Errorf("%+v: %+v, %v", f, got, err)
		}
	}
}

// What a lost holder has beyond what its usage proves is released, for one holder or one
// bucket; the holder never speaks again, and usage that turns up later counts.
func TestReconcile_releases(t *testing.T) {
	for what, who := range map[string]tiergate.Reconciliation{"holder": {Holder: "gone"}, "bucket": {}} {
		o := newOutage(t)
		who.How, who.By, who.Reason = tiergate.ReconcileRelease, tiergate.Caller{ID: "olga"}, "the disk burnt"
		if what == "bucket" {
			who.Bucket = &o.bucket
		}
		for _, want := range []tiergate.Reconciled{{Leases: 1, Units: 4}, {}} {
			if done, err := o.admin.Reconcile(t.Context(), who); err != nil || done != want {
				t.Errorf("%s: %+v, %v, want %+v", what, done, err, want)
			}
		}
		if got := o.state(t); got != (ledgertest.Counted{Used: 2, Leased: 1}) {
			t.Errorf("%s: %+v", what, got)
		}
		_, err := o.Ledger.Exchange(t.Context(), tiergate.Exchange{Holder: "gone", Previous: "a", Token: "b"})
		if !errors.Is(err, tiergate.ErrFenced) {
			t.Errorf("%s: it speaks again: %v, want ErrFenced", what, err)
		}
		o.upload(t, 5, tiergate.Usage{ID: "l", At: ledgertest.Start, Feature: "exports", Units: 3, Events: 1, Spends: []tiergate.Spend{{Bucket: o.bucket, Holder: "gone", Units: 3}}})
		if got := o.state(t); got != (ledgertest.Counted{Used: 5, Leased: 1}) {
			t.Errorf("%s: late usage: %+v", what, got)
		}
		var audit string
		err = pgtest.Connect(t, o.url).QueryRow(t.Context(), `select concat_ws(' ', actor, reason, how, holder, limit_key, subject, state, granted, reported, units) from reconciliations`).Scan(&audit)
		if err != nil || audit != "olga the disk burnt release gone exports acme FORFEIT 6 2 4" {
			t.Errorf("%s: the record says %q, %v", what, audit, err)
		}
	}
}

// What is charged counts as used, and usage that turns up later does not count it again.
func TestReconcile_charges_once(t *testing.T) {
	o := newOutage(t)
	done, err := o.admin.Reconcile(t.Context(), tiergate.Reconciliation{Holder: "gone", How: tiergate.ReconcileCharge, Reason: "they used it"})
	if err != nil || done.Units != 4 {
		t.Fatalf("%+v, %v", done, err)
	}
	if got := o.state(t); got != (ledgertest.Counted{Used: 6, Leased: 1}) {
		t.Errorf("charged: %+v", got)
	}
	for i, used := range []int64{6, 7} { // 3 of the 4 that were charged, then 1 of them and 1 more
		units := []int64{3, 2}[i]
		o.upload(t, int64(5+2*i), tiergate.Usage{ID: "l", At: ledgertest.Start, Feature: "exports", Units: units, Events: 1, Spends: []tiergate.Spend{{Bucket: o.bucket, Holder: "gone", Units: units}}})
		if got := o.state(t); got != (ledgertest.Counted{Used: used, Leased: 1}) {
			t.Errorf("late usage of %d: %+v", units, got)
		}
	}
}

// Only what is lost can be reconciled, and only with a reason.
func TestReconcile_refuses(t *testing.T) {
	o := newOutage(t)
	good := tiergate.Reconciliation{Holder: "gone", How: tiergate.ReconcileRelease, Reason: "r"}
	for what, c := range map[string]struct {
		change func(*tiergate.Reconciliation)
		code   tiergate.Code
	}{
		"a holder that is alive": {func(r *tiergate.Reconciliation) { r.Holder = "here" }, tiergate.Conflict},
		"an unknown holder":      {func(r *tiergate.Reconciliation) { r.Holder = "ghost" }, tiergate.NotFound},
		"no reason":              {func(r *tiergate.Reconciliation) { r.Reason = " " }, tiergate.Invalid},
		"another way":            {func(r *tiergate.Reconciliation) { r.How = "forget" }, tiergate.Invalid},
		"nobody":                 {func(r *tiergate.Reconciliation) { r.Holder = "" }, tiergate.Invalid},
	} {
		r := good
		c.change(&r)
		if _, err := o.admin.Reconcile(t.Context(), r); tiergate.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", what, err, c.code)
		}
	}
	if got := o.state(t); got != (ledgertest.Counted{Used: 2, Leased: 1, Forfeited: 4}) {
		t.Errorf("%+v", got)
	}
}

// Usage of months that nobody made, or of times that no clock should show, is kept, and
// moved when its month is made. What is older than the policy says goes.
func TestRetain(t *testing.T) {
	url := pgtest.New(t)
	l, admin := openLedger(t, pgtest.As(t, url, "tiergate_sidecar")), open(t, pgtest.As(t, url, "tiergate_admin"))
	now := time.Now().UTC()
	soon := time.Date(now.Year(), now.Month()+4, 15, 0, 0, 0, 0, time.UTC)
	var b tiergate.UsageBatch
	b.Log, b.To = "log", 1
	for i, at := range []time.Time{now, soon, now.AddDate(-3, 0, 0), time.Unix(0, 0), {}, time.Date(9999, 12, 31, 23, 0, 0, 0, time.UTC)} {
		key := &tiergate.UsageKey{Scope: "acme", Key: string(rune('a' + i)), Fingerprint: "f"}
		b.Usage = append(b.Usage, tiergate.Usage{ID: "e", At: at, TeamID: "acme", Feature: "f", Units: 1, Events: 1, Key: key})
		b.Denials = append(b.Denials, tiergate.Denial{Hour: at, TeamID: "acme", Feature: "f", Reason: tiergate.UseExhausted, Count: 1})
	}
	if up, err := l.Upload(t.Context(), b); err != nil || up.At != 1 {
		t.Fatalf("%+v, %v", up, err)
	}
	conn := pgtest.Connect(t, url)
	count := func(sql string) (n int) {
		t.Helper()
		if err := conn.QueryRow(context.Background(), sql).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(`select count(*) from usage_analytics_default`); n != 5 {
		t.Errorf("%d of 5 events are in the default partition", n)
	}
	made, err := admin.Retain(t.Context(), postgres.Retention{Months: 4})
	if err != nil || made.Made != 6 || made.Rows < 9 {
		t.Errorf("%+v, %v: want 2 months of 3 tables, and 3 old rows of each", made, err)
	}
	for _, table := range []string{"usage_analytics", "usage_hourly", "denials_hourly"} {
		if all, rest := count(`select count(*) from `+table), count(`select count(*) from `+table+`_default`); all != 3 || rest != 1 {
			t.Errorf("%s has %d rows, %d of them in the default partition, want 3 and that of year 9999", table, all, rest)
		}
	}
	again, err := admin.Retain(t.Context(), postgres.Retention{Months: 4})
	if err != nil || again != (postgres.Retained{}) {
		t.Errorf("again: %+v, %v", again, err)
	}
	pgtest.Exec(t, url, `select usage_partition('usage_hourly', '2020-02-10')`, `update usage_keys set at = now() - interval '36 days' where key = 'a'`,
		`update usage_keys set at = now() - interval '41 days' where key = 'b'`)
	third, err := admin.Retain(t.Context(), postgres.Retention{Keys: time.Hour})
	if err != nil || third.Dropped != 1 || count(`select count(*) from usage_keys`) != 4 {
		t.Errorf("%+v, %v: want one month dropped and both old keys gone", third, err)
	}
}

// Buckets of periods that are over go with what was forfeited in them, and so do holders that
// are gone; what still counts or is held stays, however old.
func TestRetain_of_what_counts(t *testing.T) {
	o := newOutage(t)
	lifetime := tiergate.Bucket{Limit: "exports", Scope: "team", Subject: "acme"}
	rate := tiergate.Bucket{Limit: "calls", Scope: "team", Subject: "acme"}
	seats := tiergate.Bucket{Limit: "seats", Scope: "team", Subject: "acme"}
	_, err := o.Ledger.Exchange(t.Context(), tiergate.Exchange{
		Holder: "old", Token: "a", Rates: []tiergate.RateAsk{{Bucket: rate}},
		Asks: []tiergate.LeaseAsk{{Bucket: lifetime, Amount: 10, Rev: 1, Fence: 1, Need: 3, Want: 3}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Ledger.Add(t.Context(), seats, "alice", 5, 1); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"settled", "held"} {
		r := tiergate.Reservation{ID: id, Holds: []tiergate.Hold{{Bucket: tiergate.Bucket{Limit: id}, Kind: tiergate.Concurrency, Units: 1, Amount: 1, Rev: 1}}}
		if _, err := o.Ledger.Reserve(t.Context(), r, 9000*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.Ledger.Release(t.Context(), "settled", ""); err != nil {
		t.Fatal(err)
	}
	if done, err := o.admin.Retain(t.Context(), postgres.Retention{}); err != nil || done.Rows != 0 {
		t.Errorf("nothing is old, and %+v went (%v)", done, err)
	}
	pgtest.Exec(t, o.url, `update buckets set touched_at = touched_at - interval '500 days'`, `update buckets set ends_at = touched_at where period <> ''`, `update holders set expires_at = expires_at - interval '500 days', lost = true`,
		`update leases set state = 'FORFEIT' where state = 'ACTIVE'`, `update buckets set forfeited = forfeited + leased, leased = 0`,
		`update rate_shares set expires_at = expires_at - interval '2 days'`, `update reservations set settled_at = settled_at - interval '100 days'`)
	if _, err := o.admin.Retain(t.Context(), postgres.Retention{}); err != nil {
		t.Fatal(err)
	}
	var left string
	err = pgtest.Connect(t, o.url).QueryRow(t.Context(), `select concat_ws(' ', (select string_agg(limit_key || ':' || period, ' ' order by limit_key) from buckets), (select string_agg(id, ' ') from holders),
		(select count(*) from leases), (select count(*) from rate_shares), (select string_agg(id, ' ') from reservations), (select count(*) from reservation_holds))`).Scan(&left)
	if want := "exports: held: seats: old 1 0 held 1"; err != nil || left != want {
		t.Errorf("what is left is %q, want %q (%v)", left, want, err)
	}
	ledgertest.Check(t, o.Sums())

	// A period that never ends is never over, however long nobody came.
	pgtest.Exec(t, o.url, `insert into buckets (limit_key, scope, subject, period, used, touched_at) values ('ever', 'team', 'acme', 'lifetime', 3, now() - interval '900 days')`)
	if _, err := o.admin.Retain(t.Context(), postgres.Retention{}); err != nil {
		t.Fatal(err)
	}
	var used int64
	if err := pgtest.Connect(t, o.url).QueryRow(t.Context(), `select used from buckets where period = 'lifetime'`).Scan(&used); err != nil || used != 3 {
		t.Errorf("of a lifetime's three units %d are remembered, %v", used, err)
	}
}
