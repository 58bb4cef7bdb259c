package quota

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tiergate/tiergate"
)

// smallHolder opens an engine whose holders have room for few leases, and remember few that they
// gave back.
func smallHolder(t testing.TB, l tiergate.Ledger, dir string) *Engine {
	t.Helper()
	e, err := Open(Options{Ledger: l, Dir: dir, slots: 64, traces: 96})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// claimOf is a claim on the monthly quota of one of very many teams.
func claimOf(t testing.TB, team int, amount int64) Claim {
	c := monthly(t, amount, 1)
	c.Subject = fmt.Sprintf("team %d", team)
	return c
}

// Many more subjects come by than a holder has room for, and come again. Each is admitted as
// often as its limit allows and never once more; nobody is sent away for want of room, no
// counter file is left behind, and at the end the ledger keeps nothing aside.
func TestEngine_goes_on_as_another_holder_before_it_is_full(t *testing.T) {
	const teams, limit, together = 2_000, 3, 40
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ledger := &Memory{}
		e := smallHolder(t, ledger, dir)
		names := map[string]bool{}
		for round := range limit + 1 {
			want := tiergate.UseAllowed
			if round == limit {
				want = tiergate.UseExhausted
			}
			for first := 0; first < teams; first += together {
				all(together, func(i int) {
					if r := reasonOf(t, e, take(claimOf(t, first+i, limit))); r != want {
						t.Errorf("in round %d a use of team %d is %s, want %s", round, first+i, r, want)
					}
				})
				names[e.holder.Load().id] = true
				time.Sleep(time.Duration(idleFor) + 3*time.Second)
			}
		}
		if err := e.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if len(names) < 10 {
			t.Errorf("the process was only %d holders", len(names))
		}
		for key, b := range ledger.buckets {
			if b.used != limit || b.leased != 0 || b.forfeited != 0 {
				t.Errorf("of %s used %d, leased %d, forfeited %d; want %d, 0, 0", key.Subject, b.used, b.leased, b.forfeited, limit)
			}
		}
	})
	if files, err := filepath.Glob(filepath.Join(dir, countersName+"*")); err != nil || len(files) != 0 {
		t.Errorf("there are counter files %q, %v", files, err)
	}
}

// A mortalLine leads to a Memory until it has been used some more times; the last of these
// is done, and its answer is lost. It is for one goroutine of the engine at a time.
type mortalLine struct {
	*Memory
	mu   sync.Mutex
	left int // negative is for ever
}

func (l *mortalLine) live(calls int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = calls
}

func (l *mortalLine) dead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left == 0
}

// use says whether a call is still done, and whether its answer arrives.
func (l *mortalLine) use() (done, heard bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	done = l.left != 0
	if l.left > 0 {
		l.left--
	}
	return done, l.left != 0
}

func (l *mortalLine) Exchange(ctx context.Context, x tiergate.Exchange) (out tiergate.Exchanged, err error) {
	done, heard := l.use()
	if done {
		out, err = l.Memory.Exchange(ctx, x)
	}
	if !heard {
		return tiergate.Exchanged{}, errAway
	}
	return out, err
}

func (l *mortalLine) Upload(ctx context.Context, b tiergate.UsageBatch) (out tiergate.Uploaded, err error) {
	done, heard := l.use()
	if done {
		out, err = l.Memory.Upload(ctx, b)
	}
	if !heard {
		return tiergate.Uploaded{}, errAway
	}
	return out, err
}

func (l *mortalLine) Retire(ctx context.Context, r tiergate.Retirement) (err error) {
	done, heard := l.use()
	if done {
		err = l.Memory.Retire(ctx, r)
	}
	if !heard {
		return errAway
	}
	return err
}

// all does something for each team, many at once.
func all(teams int, do func(team int)) {
	var callers sync.WaitGroup
	for first := range 50 {
		callers.Go(func() {
			for team := first; team < teams; team += 50 {
				do(team)
			}
		})
	}
	callers.Wait()
}

// A process is killed while it goes on as another holder, after each message to the ledger that
// this takes. The next process gives back what either holder had left, to the unit: all that
// the limits allow is admitted, and nothing more.
func TestEngine_killed_while_it_goes_on_as_another_holder_loses_nothing(t *testing.T) {
	const teams, limit = maxHanded + 50, 3 // more than one message hands over
	finished, calls := false, 0
	for !finished {
		calls++
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			line := &mortalLine{Memory: &Memory{}, left: -1}
			e := doomed(t, line, dir)
			var admitted [teams]atomic.Int64
			use := func(e *Engine, team int) tiergate.UseReason {
				r := reasonOf(t, e, take(claimOf(t, team, limit)))
				if r == tiergate.UseAllowed {
					admitted[team].Add(1)
				}
				return r
			}
			all(teams, func(team int) { use(e, team) })
			line.live(calls)
			first := e.holder.Load().id
			e.outlived.Store(true)
			e.wake()
			for team := 0; team < 60 && !line.dead() && !finished; team++ {
				if r := use(e, team%teams); r != tiergate.UseAllowed && !line.dead() {
					t.Errorf("killed after %d messages: before that a use is %s", calls, r)
				}
				time.Sleep(100 * time.Millisecond)
				e.mu.RLock()
				finished = e.departing == nil && e.holder.Load().id != first
				e.mu.RUnlock()
			}
			line.live(0)
			crash(t, e)
			line.live(-1)
			e = doomed(t, line, dir)
			time.Sleep(5 * time.Second)
			all(teams, func(team int) {
				for use(e, team) == tiergate.UseAllowed {
				}
			})
			if err := e.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			for key, b := range line.buckets {
				if b.used != limit || b.leased != 0 || b.forfeited != 0 {
					t.Fatalf("killed after %d messages: of %s used %d, leased %d, forfeited %d; want %d, 0, 0", calls, key.Subject, b.used, b.leased, b.forfeited, limit)
				}
			}
			for team := range admitted {
				if n := admitted[team].Load(); n != limit {
					t.Fatalf("killed after %d messages: %d of %d are admitted of team %d", calls, n, limit, team)
				}
			}
		})
	}
	if calls < 6 {
		t.Errorf("it took only %d messages", calls)
	}
}

// While a process goes on as another holder, callers who spend all the time hear nothing of it
// but a yes, and a rate that all processes share stays whole.
func TestEngine_going_on_as_another_holder_refuses_nobody(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := smallHolder(t, &Memory{}, dir)
		shared := Claim{Key: "calls", Kind: tiergate.Rate, Scope: "team", Subject: "acme", Amount: 100, Rev: 1, Units: 1, Period: "second", Burst: 100, Leased: true}
		names := map[string]bool{}
		for i := range 1_500 {
			if i == 100 || i > 250 && i%250 == 0 {
				e.outlived.Store(true)
			}
			if r := reasonOf(t, e, take(shared, claimOf(t, i%7, 1_000_000))); i > 100 && r != tiergate.UseAllowed {
				t.Fatalf("use %d is %s", i, r)
			}
			names[e.holder.Load().id] = true
			time.Sleep(20 * time.Millisecond)
		}
		if len(names) < 5 {
			t.Errorf("the process was only %d holders", len(names))
		}
		if err := e.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

// Two processes and many callers use a limit up while the processes become other holders all the
// time: together they get all of it and not a unit more.
func TestEngine_shares_a_limit_exactly_as_ever_new_holders(t *testing.T) {
	const amount = 3_000
	dirs := [...]string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		ledger := &Memory{}
		var admitted, holders atomic.Int64
		var callers, others sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		for _, dir := range dirs {
			e := doomed(t, ledger, dir)
			defer func() {
				if err := e.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}()
			others.Go(func() {
				for before := ""; ctx.Err() == nil; sleep(ctx, 30*time.Millisecond) {
					if now := e.holder.Load().id; now != before {
						before = now
						holders.Add(1)
					}
					e.outlived.Store(true)
					e.wake()
				}
			})
			for range 8 {
				callers.Go(func() {
					for {
						out, _, err := e.Consume(t.Context(), take(monthly(t, amount, 1)), nil)
						switch {
						case err != nil:
							t.Error(err)
							return
						case out.Reason == tiergate.UseAllowed:
							admitted.Add(1)
							time.Sleep(10 * time.Millisecond)
						case out.Reason == tiergate.UseExhausted:
							return
						case out.Reason == tiergate.UseContended:
							time.Sleep(20 * time.Millisecond)
						default:
							t.Errorf("%+v", out)
							return
						}
					}
				})
			}
		}
		callers.Wait()
		stop()
		others.Wait()
		if n := admitted.Load(); n != amount || holders.Load() < 6 {
			t.Errorf("%d of %d were admitted by %d holders", n, amount, holders.Load())
		}
	})
}
