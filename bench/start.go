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

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/demo"
)

// A size is how much configuration a sidecar starts with.
type size struct {
	name                string
	flags, teams, users int
}

var sizes = []size{
	{name: "demo data, 10 flags"},
	{name: "1,000 flags", flags: 1_000},
	{name: "10,000 flags", flags: 10_000},
	{name: "100,000 flags", flags: 100_000},
	{name: "1,000,000 users, 100,000 teams, 10,000 flags", flags: 10_000, teams: 100_000, users: 1_000_000},
}

// start measures from exec to ready, from Postgres and from the last-known-good file, and
// the resident memory after that.
func (b *bencher) start(ctx context.Context) error {
	fmt.Printf("\nstart of a sidecar: time to ready and resident memory\n\n")
	fmt.Printf("%-46s %12s %12s %10s\n", "", "Postgres ms", "file ms", "RSS MiB")
	for i, s := range sizes {
		if err := b.startWith(ctx, s, filepath.Join(b.dir, fmt.Sprint("start", i))); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (b *bencher) startWith(ctx context.Context, s size, dir string) error {
	sub := &bencher{dir: dir, root: b.root}
	cluster, url, err := sub.database(ctx, s.data())
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "sidecar")
	fresh, rss, err := b.timeToReady(ctx, url, data, true)
	if err != nil {
		cluster.Close()
		return err
	}
	if err := cluster.Close(); err != nil {
		return err
	}
	file, _, err := b.timeToReady(ctx, url, data, false)
	if err != nil {
		return err
	}
	fmt.Printf("%-46s %12d %12d %10.0f\n", s.name, fresh.Milliseconds(), file.Milliseconds(), float64(rss)/(1<<20))
	return nil
}

// timeToReady starts a sidecar and stops it; after the first start it waits until the
// last-known-good file has been written.
func (b *bencher) timeToReady(ctx context.Context, url, data string, settle bool) (time.Duration, int64, error) {
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
	took := time.Since(began)
	if settle {
		time.Sleep(8 * time.Second)
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

// data is the demo's and what the size adds.
func (s size) data() []tiergate.Change {
	changes := demo.Data()
	for i := range s.flags {
		changes = append(changes, tiergate.PutOf(numbered(tiergate.DefaultSet, i)))
	}
	for i := range s.users {
		changes = append(changes, tiergate.PutOf(&tiergate.User{ID: userID(i), Tier: "free"}))
	}
	for i := range s.teams {
		changes = append(changes, tiergate.PutOf(&tiergate.Team{
			ID: teamID(i), Name: "A team", OwnerID: userID(i), Tier: "pro", Status: "active",
			Settings: tiergate.TeamSettings{MaxMembers: 5, AllowedFeatures: []string{}},
		}))
	}
	for i := range s.users {
		changes = append(changes, tiergate.PutOf(&tiergate.Member{TeamID: teamID(i % s.teams), UserID: userID(i), Role: tiergate.RoleMember}))
	}
	return changes
}

// Ids as they are in production: UUIDs.
func userID(i int) string { return fmt.Sprintf("0190aaaa-0000-7000-8000-%012x", i) }
func teamID(i int) string { return fmt.Sprintf("0190bbbb-0000-7000-8000-%012x", i) }
