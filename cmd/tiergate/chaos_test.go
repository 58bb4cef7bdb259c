package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/faultproxy"
	"github.com/tiergate/tiergate/internal/localpg"
	"github.com/tiergate/tiergate/internal/porttest"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// How long the fault run lasts: two minutes as a test, TIERGATE_CHAOS for more. A long one has about
// chaosKills kills and chaosBreaks faults of Postgres, further apart than in a short one: what comes
// after each takes a small machine as long as many thousand events, and a long run is to have both.
const (
	chaosTime   = 2 * time.Minute
	chaosKills  = 1_200
	chaosBreaks = 50
)

// Sixteen sidecars share one Postgres while processes are killed and stopped, Postgres is
// killed, and connections end between a commit and its answer. At the end the ledger says
// what the callers were told: nothing above a limit, nothing lost, nothing twice.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes: a run without -short has it")
	}
	duration := chaosTime
	if text := os.Getenv("TIERGATE_CHAOS"); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	w := newChaosWorld(t, duration)
	w.run(t, duration)
	w.quiet(t)
	w.judge(t)
}

// A chaosWorld is all that takes part in a fault run.
type chaosWorld struct {
	db       *database
	proxy    *faultproxy.Proxy
	sidecars []*chaosSidecar
	tally    *tally
	faults   struct{ kills, stops, restarts atomic.Int64 }
}

// A chaosSidecar is one sidecar, through all of its processes.
type chaosSidecar struct {
	dir, http, ops, url string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
	over bool // no other process begins
	said *output
}

func newChaosWorld(t *testing.T, duration time.Duration) *chaosWorld {
	t.Helper()
	w := &chaosWorld{db: seededApart(t, chaosData(duration)...), tally: newTally()}
	cc, err := pgx.ParseConfig(w.db.url())
	if err != nil {
		t.Fatal(err)
	}
	if w.proxy, err = faultproxy.New(cc.Host); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.proxy.Close() })
	root := dataDir(t)
	for i := range chaosSidecars {
		w.sidecars = append(w.sidecars, &chaosSidecar{
			dir: filepath.Join(root, fmt.Sprint(i)), http: porttest.Addr(t), ops: porttest.Addr(t), url: w.proxy.URL(cc.User, cc.Database), said: &output{},
		})
	}
	t.Cleanup(func() {
		for _, s := range w.sidecars {
			s.end()
		}
		if t.Failed() {
			for i, s := range w.sidecars {
				t.Logf("sidecar %d said at last:\n%s", i, lastPart(s.said.String(), 2000))
			}
		}
	})
	for _, s := range w.sidecars {
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func lastPart(s string, n int) string { return s[max(0, len(s)-n):] }

// chaosData is what the callers ask for. The limits are such that they are reached in the
// middle of the run.
func chaosData(duration time.Duration) []tiergate.Change {
	limit := func(key, feature string, kind tiergate.LimitKind, scope, period string, amount int64) tiergate.Change {
		return tiergate.PutOf(&tiergate.Limit{
			ID: key, Key: key, Feature: feature, Kind: kind, Scope: scope, Period: period, Cost: 1,
			Amounts: map[string]*int64{"enterprise": &amount},
		})
	}
	each := func(perMinute int64) int64 { return max(10, perMinute*int64(duration/time.Second)/60) }
	changes := []tiergate.Change{
		limit("tight", "tight", tiergate.Quota, "team", "lifetime", each(tightAmount)),
		limit("user-exports", "exports", tiergate.Quota, "user", "lifetime", each(userAmount)),
		limit("jobs", "jobs", tiergate.Quota, "team", "lifetime", each(jobsAmount)),
		limit("jobs-at-once", "jobs", tiergate.Concurrency, "team", "", jobSlots),
	}
	for i := range bulkFeatures {
		changes = append(changes, limit(bulkName(i), bulkName(i), tiergate.Quota, "team", "lifetime", bulkAmount))
	}
	for i := range chaosTeams {
		changes = append(changes, tiergate.PutOf(&tiergate.Team{
			ID: teamName(i), Name: teamName(i), OwnerID: "alice", Tier: "enterprise", Status: tiergate.TeamActive,
			Settings: tiergate.TeamSettings{MaxMembers: 100, AllowedFeatures: []string{}},
		}))
		for j := range usersPerTeam {
			user := userName(i, j)
			changes = append(changes, tiergate.PutOf(&tiergate.User{ID: user, Tier: "free"}),
				tiergate.PutOf(&tiergate.Member{TeamID: teamName(i), UserID: user, Role: tiergate.RoleMember}))
		}
	}
	return changes
}

// start starts the sidecar's next process. One that ends by itself, because somebody has its
// port for a moment, is started again, as whatever keeps services running would.
func (s *chaosSidecar) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next()
}

// next is start for who holds s.mu.
func (s *chaosSidecar) next() error {
	cmd := exec.Command(os.Args[0], "sidecar", "--data-dir", s.dir, "--source", s.url, "--http-addr", s.http, "--ops-addr", s.ops, "--log-level", "warn")
	cmd.Env = append(os.Environ(), "TIERGATE_RUN_MAIN=1", "GOMAXPROCS=1", "GOMEMLIMIT=200MiB")
	cmd.Stdout, cmd.Stderr = s.said, s.said
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
		if cmd.ProcessState.ExitCode() > 0 { // it was not killed
			time.Sleep(200 * time.Millisecond)
			s.again(cmd)
		}
	}()
	s.cmd, s.done = cmd, done
	return nil
}

// again starts a process in the place of one that ended, unless there is another already.
func (s *chaosSidecar) again(ended *exec.Cmd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == ended && !s.over {
		_ = s.next() // without it the run sees that the sidecar does not get ready
	}
}

// signal sends a signal to the process, and returns what tells of its end.
func (s *chaosSidecar) signal(sig syscall.Signal) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		ended := make(chan struct{})
		close(ended)
		return ended
	}
	_ = s.cmd.Process.Signal(sig)
	return s.done
}

func (s *chaosSidecar) kill() {
	done := s.signal(syscall.SIGKILL)
	<-done
}

// end kills the process, and lets no other begin.
func (s *chaosSidecar) end() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.kill()
}

func (s *chaosSidecar) ready() bool {
	resp, err := http.Get("http://" + s.ops + "/readyz")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK
}

// run has callers ask and faults happen for a while.
func (w *chaosWorld) run(t *testing.T, duration time.Duration) {
	t.Helper()
	eventually(t, "all sidecars are ready", func() bool {
		for _, s := range w.sidecars {
			if !s.ready() {
				return false
			}
		}
		return true
	})
	w.proxy.Lose(2_000)
	stop, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	var faults, callers sync.WaitGroup
	faults.Go(func() { w.killAll(stop, t, max(700*time.Millisecond, duration/chaosKills)) })
	faults.Go(func() { w.stopSome(stop) })
	faults.Go(func() { w.breakPostgres(stop, t, max(9*time.Second, duration/chaosBreaks)) })
	faults.Go(func() { w.report(stop, t) })
	end, over := context.WithTimeout(t.Context(), duration+3*time.Minute)
	defer over()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	addrs := func() []string {
		var all []string
		for _, s := range w.sidecars {
			all = append(all, s.http)
		}
		return all
	}
	for i := range chaosCallers {
		c := &caller{tally: w.tally, addrs: addrs, client: client, rng: rand.New(rand.NewPCG(1, uint64(i))), id: i}
		callers.Go(func() { c.run(end, stop) })
	}
	faults.Wait()
	w.proxy.Lose(0)
	callers.Wait()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within two minutes: %s", what)
		}
	}
}

// killAll kills one process after the other, a gap apart on average, and starts each anew at once.
func (w *chaosWorld) killAll(ctx context.Context, t *testing.T, gap time.Duration) {
	for at := time.Now(); ctx.Err() == nil; {
		at = at.Add(gap/2 + rand.N(gap)) // however long a kill takes
		pause(ctx, time.Until(at))
		s := w.sidecars[rand.IntN(len(w.sidecars)-2)] // the last two are stopped instead
		s.kill()
		w.faults.kills.Add(1)
		if err := s.start(); err != nil {
			t.Error(err)
			return
		}
	}
}

// stopSome stops a process for longer than its leases last, and lets it go on.
func (w *chaosWorld) stopSome(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		s := w.sidecars[len(w.sidecars)-1-i%2]
		s.signal(syscall.SIGSTOP)
		w.faults.stops.Add(1)
		pause(ctx, 18*time.Second)
		s.signal(syscall.SIGCONT)
		pause(ctx, 5*time.Second)
	}
}

// report says each minute how far the run has come.
func (w *chaosWorld) report(ctx context.Context, t *testing.T) {
	for began := time.Now(); ; {
		if pause(ctx, time.Minute); ctx.Err() != nil {
			return
		}
		w.tally.mu.Lock()
		t.Logf("after %s: %d events acknowledged, denied: %v", time.Since(began).Round(time.Second), w.tally.events, w.tally.denied)
		w.tally.mu.Unlock()
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// breakPostgres kills the server, cuts all connections, and holds its answers back.
func (w *chaosWorld) breakPostgres(ctx context.Context, t *testing.T, gap time.Duration) {
	for i := 0; ctx.Err() == nil; i++ {
		pause(ctx, gap)
		switch i % 3 {
		case 0:
			w.proxy.Cut()
		case 1:
			w.proxy.Stall(true)
			pause(ctx, 4*time.Second)
			w.proxy.Stall(false)
		case 2:
			if err := syscall.Kill(w.db.cluster.Pid(), syscall.SIGQUIT); err != nil {
				t.Error(err)
				return
			}
			<-w.db.cluster.Done()
			w.faults.restarts.Add(1)
			_ = w.db.cluster.Close() // it tells that it was killed
			// A server forgets with each crash what there is to vacuum, and lives for half a minute.
			settings := map[string]string{"fsync": "off", "autovacuum_naptime": "2s"}
			if err := w.db.restart(t.Context(), settings); err != nil {
				t.Error(err)
				return
			}
		}
	}
}

// restart starts the server of a database anew. A process that was forked a moment ago may still
// hold the lock of its directory, until it runs its own program.
func (d *database) restart(ctx context.Context, settings map[string]string) error {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		cluster, err := localpg.Start(ctx, localpg.Config{Dir: d.dir, Settings: settings})
		if err == nil {
			d.cluster = cluster
			return nil
		}
		if time.Now().After(end) {
			return err
		}
	}
}

// quiet ends all faults and lets everything that was begun come to its end: each sidecar
// brings its usage to the ledger and gives back what it holds.
func (w *chaosWorld) quiet(t *testing.T) {
	t.Helper()
	for _, s := range w.sidecars {
		s.signal(syscall.SIGCONT)
	}
	eventually(t, "all sidecars are ready again", func() bool {
		for _, s := range w.sidecars {
			if !s.ready() {
				return false
			}
		}
		return true
	})
	eventually(t, "former processes are retired and usage is uploaded", func() bool {
		for _, s := range w.sidecars {
			if !strings.Contains(status(s.ops), `"former":0`) {
				return false
			}
		}
		return true
	})
	w.expire(t)
	for _, s := range w.sidecars {
		done := s.signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatal("a sidecar does not end")
		}
	}
}

// expire lets the time of the reservations be over that nobody knows of. There are no more of
// them than callers have doubts about.
func (w *chaosWorld) expire(t *testing.T) {
	t.Helper()
	conn := pgtest.Connect(t, w.db.url())
	held := func() (n int64) {
		if err := conn.QueryRow(t.Context(), `select count(*) from reservations where state = 'HELD'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	n := held()
	t.Logf("%d reservations are held that nobody knows of, callers have doubts about %d", n, w.tally.doubtful)
	if n > w.tally.doubtful {
		t.Errorf("%d reservations are held, and callers have doubts about %d", n, w.tally.doubtful)
	}
	if _, err := conn.Exec(t.Context(), `update reservations set expires_at = now() where state = 'HELD'`); err != nil {
		t.Fatal(err)
	}
	c := &caller{client: http.DefaultClient, rng: rand.New(rand.NewPCG(2, 2)), addrs: func() []string { return []string{w.sidecars[0].http} }}
	eventually(t, "reservations expire", func() bool {
		c.call(t.Context(), w.sidecars[0].http, "/v1/reservations", map[string]any{
			"id": c.mint(), "feature": "jobs", "subject": map[string]any{"team": teamName(0)}, "cost": 1 << 40,
		})
		return held() == 0
	})
}

func status(ops string) string {
	resp, err := http.Get("http://" + ops + "/status")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return string(text)
}
