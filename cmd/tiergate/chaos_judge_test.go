package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/tiergate/tiergate/postgres/pgtest"
)

// A ledgerAccount is what the ledger says at the end about one limit's subject.
type ledgerAccount struct {
	amount, used, leased, reserved, forfeited int64
	usage                                     int64 // the sum of the usage that tells of it
}

// judge holds what the ledger says against what callers were told, and says what happened.
func (w *chaosWorld) judge(t *testing.T) {
	t.Helper()
	accounts := w.accounts(t)
	billed := w.billed(t)
	var over, lost, twice, drift, stranded int64
	for _, key := range slices.SortedFunc(maps.Keys(accounts), compareTally) {
		a := accounts[key]
		over += max(0, a.used-a.amount)
		drift += abs(a.used - a.usage)
		stranded += a.leased + a.reserved + a.forfeited
		if told := w.tally.units[key]; told > a.amount {
			over += told - a.amount
			t.Errorf("%s of %s: %d were admitted of %d", key.feature, key.subject, told, a.amount)
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(w.tally.units), compareTally) {
		told, unknown, counted := w.tally.units[key], w.tally.unknown[key], billed[key]
		lost += max(0, told-counted)
		twice += max(0, counted-told-unknown)
		if counted < told || counted > told+unknown {
			t.Errorf("%s of %s: callers were told %d and never heard of %d, %d are counted", key.feature, key.subject, told, unknown, counted)
		}
	}
	counts := w.proxy.Counts()
	t.Logf("%d kills, %d stops, %d restarts of Postgres, %d answers lost after the commit, %d connections cut, %d answers held back",
		w.faults.kills.Load(), w.faults.stops.Load(), w.faults.restarts.Load(), counts.Lost, counts.Cut, counts.Stalled)
	t.Logf("%d events acknowledged, denied: %v", w.tally.events, w.tally.denied)
	t.Logf("over-admission %d, lost %d, counted twice %d, used but not in the usage %d, still set aside %d", over, lost, twice, drift, stranded)
	if over+lost+twice+drift != 0 {
		t.Error("the ledger does not say what the callers were told")
	}
	if stranded != 0 {
		t.Errorf("%d units are still set aside though all processes ended in good order", stranded)
	}
	for name, n := range map[string]int64{
		"kill": w.faults.kills.Load(), "stop": w.faults.stops.Load(), "restart of Postgres": w.faults.restarts.Load(),
		"answer lost after its commit": counts.Lost, "cut connection": counts.Cut, "answer held back": counts.Stalled,
	} {
		if n == 0 {
			t.Errorf("no %s has happened: the run proves nothing about it", name)
		}
	}
	for reason := range w.tally.denied {
		if !slices.Contains([]string{"EXHAUSTED", "CONTENDED", "CONCURRENCY", "UNAVAILABLE"}, reason) {
			t.Errorf("a caller was told: %s", reason)
		}
	}
	if w.tally.denied["EXHAUSTED"] == 0 || w.tally.events < 1000 {
		t.Errorf("no limit was reached, or hardly anybody asked: %d events", w.tally.events)
	}
}

func compareTally(a, b tallyKey) int {
	return cmp.Or(cmp.Compare(a.feature, b.feature), cmp.Compare(a.subject, b.subject))
}

func abs(n int64) int64 { return max(n, -n) }

// accounts reads the buckets of quotas, and for each what usage tells of it.
func (w *chaosWorld) accounts(t *testing.T) map[tallyKey]ledgerAccount {
	t.Helper()
	conn := pgtest.Connect(t, w.db.url())
	rows, err := conn.Query(t.Context(), `
		with told as (
		  select s -> 'bucket' as bucket, sum((s ->> 'units')::bigint) as units
		  from usage_analytics u, jsonb_array_elements(u.spends) s group by 1)
		select b.limit_key, b.subject, b.amount, b.used, b.leased, b.reserved, b.forfeited, coalesce(t.units, 0)::bigint
		from buckets b left join told t on t.bucket = jsonb_build_object('limit', b.limit_key, 'scope', b.scope, 'subject', b.subject, 'period', b.period)
		where b.limit_key <> 'jobs-at-once'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	features := map[string]string{"user-exports": "exports"}
	out := map[tallyKey]ledgerAccount{}
	for rows.Next() {
		var key tallyKey
		var a ledgerAccount
		if err := rows.Scan(&key.feature, &key.subject, &a.amount, &a.used, &a.leased, &a.reserved, &a.forfeited, &a.usage); err != nil {
			t.Fatal(err)
		}
		if feature, ok := features[key.feature]; ok {
			key.feature = feature
		}
		out[key] = a
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// billed sums up the usage of each feature and subject.
func (w *chaosWorld) billed(t *testing.T) map[tallyKey]int64 {
	t.Helper()
	conn := pgtest.Connect(t, w.db.url())
	rows, err := conn.Query(t.Context(), `
		select feature, case when feature = 'exports' then user_id else team_id end, sum(units) from usage_analytics group by 1, 2`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[tallyKey]int64{}
	for rows.Next() {
		var key tallyKey
		var units int64
		if err := rows.Scan(&key.feature, &key.subject, &units); err != nil {
			t.Fatal(err)
		}
		out[key] = units
	}
	if err := rows.Err(); err != nil {
		t.Fatal(fmt.Errorf("read what is billed: %w", err))
	}
	return out
}
