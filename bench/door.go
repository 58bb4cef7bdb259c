package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/demo"
	"github.com/tiergate/tiergate/internal/localpg"
	"github.com/tiergate/tiergate/postgres"
)

// conns is how many connections ask at once.
const conns = "8"

// rounds is how the door is measured: rounds of A (the floor) and B (tiergate), each this long.
func (b *bencher) rounds() (n int, each string) {
	if b.quick {
		return 1, "300ms"
	}
	return 5, "2s"
}

// A question is one request to the door, and what it may cost as a multiple of the floor.
type question struct {
	name, path, body, header string
	status                   int
	must                     float64
}

func (q question) request() []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s",
		q.path, q.header, len(q.body), q.body)
}

// door measures OFREP against the floor.
func (b *bencher) door(ctx context.Context) error {
	cluster, url, err := b.database(ctx, slices.Concat(demo.Data(), bulkFlags()))
	if err != nil {
		return err
	}
	defer cluster.Close()
	floorAddr, addr, opsAddr := freeAddr(), freeAddr(), freeAddr()
	floor, err := startPinned(ctx, b.bin("floor"), floorAddr)
	if err != nil {
		return err
	}
	defer floor.stop()
	sidecar, err := startPinned(ctx, b.bin("tiergate"), "sidecar", "--source", url, "--http-addr", addr,
		"--ops-addr", opsAddr, "--data-dir", filepath.Join(b.dir, "sidecar"), "--log-level", "warn")
	if err != nil {
		return err
	}
	defer sidecar.stop()
	if err := floor.waitFor(listening(floorAddr)); err != nil {
		return err
	}
	if err := sidecar.waitFor(ready(opsAddr)); err != nil {
		return err
	}
	n, each := b.rounds()
	b.out.begin(fmt.Sprintf("OFREP over HTTP: CPU per request, median of %d rounds of %s, %s connections, one core", n, each, conns))
	for _, q := range questions(addr) {
		ours, least, err := b.compare(ctx, q, sidecar, addr, floor, floorAddr)
		if err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
		b.out.row(q.name, cell{"µs", ours, bound{}}, cell{"µs floor", least, bound{}}, cell{"× the floor", ours / least, atMost(q.must)})
	}
	return nil
}

func questions(addr string) []question {
	const single = "/ofrep/v1/evaluate/flags/"
	alice := `{"context":{"targetingKey":"alice"}}`
	bulk := question{name: "bulk of 100 flags", path: "/ofrep/v1/evaluate/flags", body: alice, header: "Flagd-Selector: flagSetId=bulk\r\n", status: 200, must: 4}
	again := bulk
	again.name, again.status, again.must = "bulk of 100 flags, 304", 304, 1.5
	again.header += "If-None-Match: " + etag(addr, bulk) + "\r\n"
	return []question{
		{name: "static", path: single + "new-dashboard", body: alice, status: 200, must: 1.2},
		{name: "tier-gated", path: single + "white-label", body: alice, status: 200, must: 1.2},
		{name: "denied", path: single + "white-label", body: `{"context":{"targetingKey":"bob"}}`, status: 200, must: 1.35},
		{name: "targeted with fractional", path: single + "checkout-button", body: alice, status: 200, must: 1.35},
		bulk, again,
	}
}

// compare runs A B A B and returns the medians in microseconds of CPU per request.
func (b *bencher) compare(ctx context.Context, q question, ours *process, addr string, floor *process, floorAddr string) (float64, float64, error) {
	var a, z []float64
	rounds, _ := b.rounds()
	for range rounds {
		least, err := b.round(ctx, floor, floorAddr, question{path: "/", body: `{"context":{"targetingKey":"alice"}}`, status: 200})
		if err != nil {
			return 0, 0, err
		}
		cost, err := b.round(ctx, ours, addr, q)
		if err != nil {
			return 0, 0, err
		}
		a, z = append(a, least), append(z, cost)
	}
	return median(z), median(a), nil
}

func (b *bencher) round(ctx context.Context, p *process, addr string, q question) (float64, error) {
	before, err := p.cpu()
	if err != nil {
		return 0, err
	}
	_, each := b.rounds()
	n, err := b.load(ctx, addr, q, each, conns)
	if err != nil {
		return 0, err
	}
	after, err := p.cpu()
	if err != nil {
		return 0, err
	}
	return float64(after-before) / float64(time.Microsecond) / float64(n), nil
}

func median(figures []float64) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	return sorted[len(sorted)/2]
}

// database starts a Postgres and puts data into it.
func (b *bencher) database(ctx context.Context, data []tiergate.Change) (*localpg.Cluster, string, error) {
	cluster, err := localpg.Start(ctx, localpg.Config{Dir: filepath.Join(b.dir, "postgres")})
	if err != nil {
		return nil, "", err
	}
	url := cluster.URL("tiergate")
	err = func() error {
		if err := postgres.CreateDatabase(ctx, cluster.URL("postgres"), "tiergate"); err != nil {
			return err
		}
		if err := postgres.Migrate(ctx, url, postgres.MigrateOptions{}); err != nil {
			return err
		}
		db, err := postgres.Open(ctx, postgres.Config{URL: url})
		if err != nil {
			return err
		}
		defer db.Close()
		_, err = db.SeedDemo(ctx, data)
		return err
	}()
	if err != nil {
		return nil, "", errors.Join(err, cluster.Close())
	}
	return cluster, url, nil
}

// bulkFlags are 100 flags of a set of their own: half static, a quarter tier-gated, a
// quarter targeted.
func bulkFlags() []tiergate.Change {
	changes := []tiergate.Change{tiergate.PutOf(&tiergate.FlagSet{Name: "bulk"})}
	for i := range 100 {
		f := numbered("bulk", i)
		switch i % 4 {
		case 2:
			f.Rules.Tiers = []string{"pro", "enterprise"}
		case 3:
			f.Rules.Targeting = json.RawMessage(`{"if": [{"in": [{"var": "email"}, "@acme.example"]}, "on", {"fractional": [["on", 30], ["off", 70]]}]}`)
		}
		changes = append(changes, tiergate.PutOf(f))
	}
	return changes
}

func numbered(set string, i int) *tiergate.Flag {
	name := fmt.Sprintf("flag-%06d", i)
	return &tiergate.Flag{
		ID: set + "." + name, Set: set, Name: name, Title: "A flag of the benchmark", Type: tiergate.Boolean, Enabled: true,
		Variants:       map[string]json.RawMessage{"on": json.RawMessage("true"), "off": json.RawMessage("false")},
		DefaultVariant: "on", OffVariant: "off", Rules: tiergate.Rules{Tiers: []string{}, Percentage: 100},
	}
}
