package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tiergate/tiergate/internal/demo"
	"github.com/tiergate/tiergate/internal/localpg"
)

// A size is how much configuration a sidecar starts with, and what it must keep to.
type size struct {
	name                string
	flags, teams, users int

	postgres, file, rss bound // ms, ms and MiB
}

func (b *bencher) sizes() []size {
	all := []size{
		{name: "idle, demo data", rss: atMost(64)},
		{name: "1,000 flags", flags: 1_000},
		{name: "10,000 flags", flags: 10_000},
		{name: "100,000 flags", flags: 100_000, postgres: atMost(1200), file: atMost(600), rss: atMost(300)},
		{name: "1,000,000 users, 100,000 teams, 10,000 flags", flags: 10_000, teams: 100_000, users: 1_000_000, rss: atMost(600)},
	}
	return all[:b.pick(len(all), 2)]
}

// start measures from exec to ready, from Postgres and from the last-known-good file, and
// the resident memory after 100 revisions.
func (b *bencher) start(ctx context.Context) error {
	b.out.begin("start of a sidecar until it is ready, and resident memory after 100 revisions")
	for i, s := range b.sizes() {
		if err := b.startWith(ctx, s, filepath.Join(b.dir, fmt.Sprint("start", i))); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// startWith measures the start with one size: the median of a few, since a start is short.
func (b *bencher) startWith(ctx context.Context, s size, dir string) error {
	sub := &bencher{dir: dir, root: b.root}
	cluster, url, err := sub.database(ctx, demo.Data())
	if err != nil {
		return err
	}
	defer cluster.Close()
	if err := s.fill(ctx, cluster, url); err != nil {
		return err
	}
	data := filepath.Join(dir, "sidecar")
	again := b.pick(3, 1)
	var fresh, file []float64
	for i := range again - 1 {
		took, _, err := b.timeToReady(ctx, url, fmt.Sprint(data, i), nil)
		if err != nil {
			return err
		}
		fresh = append(fresh, took)
	}
	took, rss, err := b.timeToReady(ctx, url, data, func() error { return revise(ctx, cluster, url, 100) })
	if err != nil {
		return err
	}
	fresh = append(fresh, took)
	if err := cluster.Close(); err != nil {
		return err
	}
	for range again {
		took, _, err := b.timeToReady(ctx, url, data, nil)
		if err != nil {
			return err
		}
		file = append(file, took)
	}
	b.out.row(s.name, cell{"ms from Postgres", median(fresh), s.postgres}, cell{"ms from the file", median(file), s.file},
		cell{"MiB", float64(rss) / (1 << 20), s.rss})
	return nil
}

// timeToReady starts a sidecar, lets it live through what life does, if anything, and then
// reads its memory, once that and the last-known-good file have settled.
func (b *bencher) timeToReady(ctx context.Context, url, data string, life func() error) (ms float64, rss int64, err error) {
	addr, opsAddr := freeAddr(), freeAddr()
	began := time.Now()
	p, err := started(exec.CommandContext(ctx, b.bin("tiergate"), "sidecar", "--source", url, "--http-addr", addr, "--ops-addr", opsAddr,
		"--data-dir", data, "--log-level", "error"))
	if err != nil {
		return 0, 0, err
	}
	defer p.stop()
	if err := p.waitFor(loaded(opsAddr)); err != nil {
		return 0, 0, err
	}
	took := float64(time.Since(began).Microseconds()) / 1000
	if life != nil {
		if err := life(); err != nil {
			return 0, 0, err
		}
		time.Sleep(12 * time.Second)
	}
	return took, p.rss(), nil
}

// loaded says whether a state is in force, however old.
func loaded(opsAddr string) func() bool {
	return func() bool {
		text := get("http://" + opsAddr + "/status")
		return text != "" && !strings.Contains(text, `"revision":""`)
	}
}

func ready(opsAddr string) func() bool {
	return func() bool { return strings.Contains(get("http://"+opsAddr+"/readyz"), `"ready":true`) }
}

func get(url string) string {
	resp, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return string(text)
}

// etag asks once and returns the answer's entity tag.
func etag(addr string, q question) string {
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+q.path, strings.NewReader(q.body))
	if err != nil {
		return ""
	}
	name, value, _ := strings.Cut(strings.TrimSpace(q.header), ": ")
	req.Header.Set(name, value)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	return resp.Header.Get("ETag")
}

// fill puts what the size adds into the tables, past the triggers: writing a million rows of
// change log is not what is measured here. The ids are as in production, UUIDs.
func (s size) fill(ctx context.Context, cluster *localpg.Cluster, url string) error {
	sql := fmt.Sprintf(`
		set session_replication_role = replica;
		insert into feature_flags (id, "set", name, title, enabled, rules)
			select 'f-' || n, 'default', 'flag-' || lpad(n::text, 6, '0'), 'A flag of the benchmark', true, '{"tiers": [], "percentage": 100}'
			from generate_series(1, %[1]d) n;
		insert into users (id, tier) select '0190aaaa-0000-7000-8000-' || lpad(to_hex(n), 12, '0'), 'free' from generate_series(1, %[3]d) n;
		insert into teams (id, name, owner_id, tier)
			select '0190bbbb-0000-7000-8000-' || lpad(to_hex(n), 12, '0'), 'A team', '0190aaaa-0000-7000-8000-' || lpad(to_hex(n), 12, '0'), 'pro'
			from generate_series(1, %[2]d) n;
		insert into team_members (team_id, user_id)
			select '0190bbbb-0000-7000-8000-' || lpad(to_hex(1 + n %% greatest(%[2]d, 1)), 12, '0'), '0190aaaa-0000-7000-8000-' || lpad(to_hex(n), 12, '0')
			from generate_series(1, %[3]d) n;
		analyze;`, s.flags, s.teams, s.users)
	cmd := exec.CommandContext(ctx, filepath.Join(cluster.Bin(), "psql"), "-qX", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", "-")
	cmd.Stdin = strings.NewReader(sql)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("fill the tables: %w: %s", err, out)
	}
	return nil
}

// revise makes revisions, so that memory is read after some life.
func revise(ctx context.Context, cluster *localpg.Cluster, url string, n int) error {
	sql := strings.Repeat("update feature_flags set enabled = not enabled where name = 'new-dashboard';\n", n)
	cmd := exec.CommandContext(ctx, filepath.Join(cluster.Bin(), "psql"), "-qX", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", "-")
	cmd.Stdin = strings.NewReader(sql)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make revisions: %w: %s", err, out)
	}
	return nil
}
