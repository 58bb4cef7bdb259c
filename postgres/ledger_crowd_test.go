package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/postgres/pgtest"
	"github.com/tiergate/tiergate/quota/ledgertest"
)

// Everybody does everything at once to the same few buckets, in any order, while holders fall
// silent and come back, reservations expire, the server changes and months are made: nobody
// waits in a circle, and in the end every bucket is the sum of what hangs on it.
func TestLedger_never_deadlocks(t *testing.T) {
	url := pgtest.New(t)
	w := worldOf(t, url)
	w.Set(ledgertest.Start)
	admin := open(t, pgtest.As(t, url, "tiergate_admin"))
	buckets := make([]tiergate.Bucket, 6)
	for i := range buckets {
		buckets[i] = tiergate.Bucket{Limit: fmt.Sprint("limit-", i), Scope: "team", Subject: "acme"}
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg, clock sync.WaitGroup
	var late atomic.Int64
	clock.Go(func() {
		conn := pgtest.Connect(t, url)
		for ctx.Err() == nil {
			_, err := conn.Exec(ctx, `update test_world set now = now + interval '3 s', life = life + (random() < 0.02)::int`)
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			if _, err := admin.Reconcile(ctx, tiergate.Reconciliation{Bucket: &buckets[0], How: tiergate.ReconcileCharge, Reason: "lost"}); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	for i := range 8 {
		wg.Go(func() {
			p := person{t: t, ledger: openLedger(t, url), name: fmt.Sprint("p", i), buckets: buckets, late: &late, random: rand.New(rand.NewPCG(1, uint64(i)))}
			for range 150 {
				p.act()
			}
		})
	}
	wg.Wait()
	stop()
	clock.Wait()
	ledgertest.Check(t, w.Sums())
	if n := late.Load(); n > 12 {
		t.Errorf("%d of 1200 waited for a lock in vain", n)
	}
	var deadlocks, expired, silent int
	err := pgtest.Connect(t, url).QueryRow(t.Context(), `select (select deadlocks from pg_stat_database where datname = current_database()),
		(select count(*) from reservations where state = 'EXPIRED'), (select count(*) from reconciliations)`).Scan(&deadlocks, &expired, &silent)
	if err != nil || deadlocks != 0 || expired == 0 || silent == 0 {
		t.Errorf("%d deadlocks; %d reservations expired and %d leases were reconciled, which should be some; %v", deadlocks, expired, silent, err)
	}
}

// A person acts at random, and starts as a new holder when it was fenced.
type person struct {
	t          *testing.T
	ledger     tiergate.Ledger
	name       string
	buckets    []tiergate.Bucket
	late       *atomic.Int64 // how often anybody waited for a lock in vain
	random     *rand.Rand
	count, log int64
	holder     string
	token      string
}

func (p *person) next(what string) string {
	p.count++
	return fmt.Sprint(p.name, " ", what, " ", p.count)
}

// some are a few different buckets in any order.
func (p *person) some() []tiergate.Bucket {
	var out []tiergate.Bucket
	for _, i := range p.random.Perm(len(p.buckets))[:1+p.random.IntN(4)] {
		out = append(out, p.buckets[i])
	}
	return out
}

func (p *person) act() {
	reservations, ctx := p.ledger.(tiergate.ReservationLedger), p.t.Context()
	var err error
	switch p.random.IntN(6) {
	case 0, 1:
		err = p.exchange(ctx)
	case 2:
		b := tiergate.UsageBatch{Log: p.name, From: p.log, To: p.log + 1, Lost: true}
		for _, bucket := range p.some() {
			b.Usage = append(b.Usage, tiergate.Usage{
				ID: p.next("e"), At: time.Now(), TeamID: fmt.Sprint("t", p.random.IntN(3)), Feature: "f", Units: 1, Events: 1,
				Spends: []tiergate.Spend{{Bucket: bucket, Holder: p.holder, Units: 1}},
				Key:    &tiergate.UsageKey{Key: fmt.Sprint(p.random.IntN(500)), Fingerprint: "f"},
			})
		}
		_, err = p.ledger.Upload(ctx, b)
		p.log++
	case 3:
		r := tiergate.Reservation{ID: fmt.Sprint("r", p.random.IntN(300)), TeamID: "acme", Fingerprint: "f"}
		for _, bucket := range p.some() {
			r.Holds = append(r.Holds, tiergate.Hold{Bucket: bucket, Kind: tiergate.Quota, Units: 1, Amount: 10_000, Rev: 1})
		}
		_, err = reservations.Reserve(ctx, r, 5*time.Second)
	case 4:
		_, err = reservations.Commit(ctx, fmt.Sprint("r", p.random.IntN(300)), "", 2, true)
	default:
		if p.holder != "" && p.random.IntN(3) == 0 {
			err = p.ledger.Retire(ctx, tiergate.Retirement{Holder: p.holder, Previous: p.token, Token: p.next("t")})
			p.holder = ""
		} else {
			_, err = reservations.Release(ctx, fmt.Sprint("r", p.random.IntN(300)), "")
		}
	}
	if notNow, ok := errors.AsType[*tiergate.NotNowError](err); ok && notNow.Learning {
		return // the server has just changed
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "55P03" {
		p.late.Add(1) // as now and then on a busy machine, and not in a circle
		return
	}
	switch tiergate.CodeOf(err) {
	case "", tiergate.NotFound, tiergate.Gone, tiergate.Conflict, tiergate.Exhausted, tiergate.KeyReused:
	default:
		p.t.Errorf("%s: %v", p.name, err)
	}
}

func (p *person) exchange(ctx context.Context) error {
	if p.holder == "" {
		p.holder, p.token = p.next("h"), ""
	}
	x := tiergate.Exchange{Holder: p.holder, Previous: p.token, Token: p.next("t")}
	for _, bucket := range p.some() {
		x.Asks = append(x.Asks, tiergate.LeaseAsk{Bucket: bucket, Amount: 10_000, Rev: 1, Fence: p.count, Need: 5, Want: 9, Seal: p.random.IntN(3) == 0})
		x.Rates = append(x.Rates, tiergate.RateAsk{Bucket: bucket})
	}
	_, err := p.ledger.Exchange(ctx, x)
	p.token = x.Token
	if err != nil {
		p.holder = ""
	}
	return err
}
