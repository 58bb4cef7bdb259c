package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/demo"
)

// usage measures what a use costs: durably over HTTP, and how often sidecars talk to Postgres.
func (b *bencher) usage(ctx context.Context) error {
	amount := int64(1) << 50
	data := append(demo.Data(), tiergate.PutOf(&tiergate.Limit{
		ID: "calls-monthly", Key: "calls-monthly", Feature: "calls", Kind: tiergate.Quota, Scope: "team", Period: "month", Cost: 1,
		Amounts: map[string]*int64{"free": &amount, "pro": &amount, "enterprise": &amount},
	}))
	cluster, url, err := b.database(ctx, data)
	if err != nil {
		return err
	}
	defer cluster.Close()
	if err := b.durable(ctx, url); err != nil {
		return err
	}
	if err := b.recovery(ctx); err != nil {
		return err
	}
	b.out.begin("Postgres transactions of everything that sidecars do, for a million uses of one limit")
	for _, n := range []int{1, 4, 16} {
		if err := b.transactions(ctx, url, n); err != nil {
			return fmt.Errorf("%d sidecars: %w", n, err)
		}
	}
	return nil
}

// recovery measures how long a process that starts takes to read a full usage log.
func (b *bencher) recovery(ctx context.Context) error {
	if b.quick {
		return nil // it writes a gigabyte
	}
	b.out.begin("opening a full usage log of 1 GiB")
	found, names, err := b.goBench(ctx, "./quota/spool", "^BenchmarkOpen_1GB$", "1x")
	if err != nil {
		return err
	}
	b.out.row(names[0], cell{"ms", found[names[0]]["ns/op"] / 1e6, bound{}}, cell{"records", found[names[0]]["records"], bound{}})
	return nil
}

// aUse is one use of a limit of a team.
func aUse() question {
	return question{name: "consume", path: "/v1/consume", body: `{"feature":"calls","subject":{"team":"acme"}}`, status: 200}
}

// durable measures uses over HTTP that are on disk when they are answered, on one core,
// beside the floor.
func (b *bencher) durable(ctx context.Context, url string) error {
	floorAddr := freeAddr()
	floor, err := startPinned(ctx, b.bin("floor"), floorAddr)
	if err != nil {
		return err
	}
	defer floor.stop()
	if err := floor.waitFor(listening(floorAddr)); err != nil {
		return err
	}
	ours, addr, err := b.sidecar(ctx, url, 0)
	if err != nil {
		return err
	}
	defer ours.stop()
	n, each := b.rounds()
	b.out.begin(fmt.Sprintf("uses over HTTP, on disk when they are answered: median of %d rounds of %s, one core", n, each))
	for _, conns := range []string{"64", "256"} {
		var rate, cost, floorRate, floorCost []float64
		for range n {
			r, c, err := b.throughput(ctx, floor, floorAddr, conns, question{path: "/", body: aUse().body, status: 200})
			if err != nil {
				return err
			}
			floorRate, floorCost = append(floorRate, r), append(floorCost, c)
			if r, c, err = b.throughput(ctx, ours, addr, conns, aUse()); err != nil {
				return err
			}
			rate, cost = append(rate, r), append(cost, c)
		}
		b.out.row("consume, "+conns+" connections", cell{"/s", median(rate), atLeast(20_000)}, cell{"/s floor", median(floorRate), bound{}},
			cell{"µs", median(cost), bound{}}, cell{"µs floor", median(floorCost), bound{}}, cell{"× the floor", median(cost) / median(floorCost), bound{}})
	}
	return nil
}

// throughput has one request asked over and over, and returns answers per second and CPU
// time of the server per answer in microseconds.
func (b *bencher) throughput(ctx context.Context, p *process, addr, conns string, q question) (rate, cost float64, err error) {
	before, err := p.cpu()
	if err != nil {
		return 0, 0, err
	}
	_, each := b.rounds()
	duration, err := time.ParseDuration(each)
	if err != nil {
		return 0, 0, err
	}
	n, err := b.load(ctx, addr, q, each, conns)
	if err != nil {
		return 0, 0, err
	}
	after, err := p.cpu()
	if err != nil {
		return 0, 0, err
	}
	return float64(n) / duration.Seconds(), float64(after-before) / float64(time.Microsecond) / float64(n), nil
}

// load runs the load generator and returns how many requests were answered.
func (b *bencher) load(ctx context.Context, addr string, q question, each, conns string) (int, error) {
	cmd := pinned(ctx, 1, b.bin("load"), addr, strconv.Itoa(q.status), each, conns)
	cmd.Stdin = bytes.NewReader(q.request())
	out, err := cmd.Output()
	if err != nil {
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			return 0, fmt.Errorf("%w: %s", err, e.Stderr)
		}
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil || n == 0 {
		return 0, errors.New("no request was answered")
	}
	return n, nil
}

// sidecar starts a sidecar on core 0, ready to answer.
func (b *bencher) sidecar(ctx context.Context, url string, i int) (*process, string, error) {
	addr, opsAddr := freeAddr(), freeAddr()
	p, err := startPinned(ctx, b.bin("tiergate"), "sidecar", "--source", url, "--http-addr", addr, "--ops-addr", opsAddr,
		"--data-dir", filepath.Join(b.dir, fmt.Sprintf("usage-%d-%d", i, time.Now().UnixNano())), "--log-level", "warn")
	if err != nil {
		return nil, "", err
	}
	if err := p.waitFor(ready(opsAddr)); err != nil {
		p.stop()
		return nil, "", err
	}
	return p, addr, nil
}

// transactions counts what a number of sidecars ask of Postgres while they are used evenly
// for a while, and what that is for a million uses.
func (b *bencher) transactions(ctx context.Context, url string, n int) error {
	var addrs []string
	for i := range n {
		p, addr, err := b.sidecar(ctx, url, i)
		if err != nil {
			return err
		}
		defer p.stop()
		addrs = append(addrs, addr)
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	before, err := committed(ctx, conn)
	if err != nil {
		return err
	}
	start, seconds := time.Now(), b.pick(20, 2)
	var uses int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed error
	for _, addr := range addrs {
		wg.Go(func() {
			n, err := b.load(ctx, addr, aUse(), fmt.Sprintf("%ds", seconds), strconv.Itoa(max(4, 64/n)))
			mu.Lock()
			defer mu.Unlock()
			uses += int64(n)
			failed = errors.Join(failed, err)
		})
	}
	wg.Wait()
	if failed != nil {
		return failed
	}
	after, err := committed(ctx, conn)
	if err != nil {
		return err
	}
	per := float64(after-before) / float64(uses) * 1e6
	b.out.row(fmt.Sprintf("%d sidecars", n), cell{"transactions", per, bound{}}, cell{"uses", float64(uses), bound{}},
		cell{"uses/s", float64(uses) / time.Since(start).Seconds(), bound{}}, cell{"transactions/s", float64(after-before) / time.Since(start).Seconds(), bound{}})
	return nil
}

// committed is how many transactions the database has committed, as its statistics say,
// which are up to a second late.
func committed(ctx context.Context, conn *pgx.Conn) (n int64, err error) {
	time.Sleep(1100 * time.Millisecond)
	err = conn.QueryRow(ctx, `select xact_commit from pg_stat_database where datname = current_database()`).Scan(&n)
	return n, err
}
