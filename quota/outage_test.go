package quota

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota/spool"
)

// A ledgerLine leads to a Memory and can be cut; with lost, what was asked is done and the
// answer does not arrive.
type ledgerLine struct {
	*Memory
	cut, lost atomic.Bool
	calls     atomic.Int64
}

var errAway = tiergate.Errorf(tiergate.Unavailable, "the ledger is away")

func (l *ledgerLine) Exchange(ctx context.Context, x tiergate.Exchange) (tiergate.Exchanged, error) {
	l.calls.Add(1)
	if l.cut.Load() {
		return tiergate.Exchanged{}, errAway
	}
	out, err := l.Memory.Exchange(ctx, x)
	if l.lost.Load() {
		return tiergate.Exchanged{}, errAway
	}
	return out, err
}

func (l *ledgerLine) Upload(ctx context.Context, b tiergate.UsageBatch) (tiergate.Uploaded, error) {
	if l.cut.Load() {
		return tiergate.Uploaded{}, errAway
	}
	out, err := l.Memory.Upload(ctx, b)
	if l.lost.Load() {
		return tiergate.Uploaded{}, errAway
	}
	return out, err
}

func (l *ledgerLine) Retire(ctx context.Context, r tiergate.Retirement) error {
	if l.cut.Load() {
		return errAway
	}
	return l.Memory.Retire(ctx, r)
}

// openLine is open over a line to the ledger.
func openLine(t testing.TB, l *ledgerLine, dir string) *Engine {
	t.Helper()
	e, err := Open(Options{Ledger: l, Reservations: l.Memory, Gauges: l.Memory, Dir: dir, Patience: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return e
}

func reasonOf(t testing.TB, e *Engine, u *Take) tiergate.UseReason {
	t.Helper()
	out, _, err := e.Consume(t.Context(), u, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out.Reason
}

// While the ledger is away what is held goes on being spent. Then the limit says what
// happens: nothing, as many as were set aside for it beforehand, or everything.
func TestEngine_without_its_ledger(t *testing.T) {
	for _, tc := range []struct {
		name     string
		fallback tiergate.Fallback
		most     int64 // admitted beyond what the ledger handed out
	}{
		{"deny", tiergate.Fallback{}, 0},
		{"allowUpTo", tiergate.Fallback{UpTo: 10}, 0},
		{"allow", tiergate.Fallback{Allow: true}, 1_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			line := &ledgerLine{Memory: &Memory{}}
			e := openLine(t, line, t.TempDir())
			c := monthly(t, 1_000, 1)
			c.Fallback = tc.fallback
			if r := reasonOf(t, e, take(c)); r != tiergate.UseAllowed {
				t.Fatal(r)
			}
			line.cut.Store(true)
			held := e.Stats().Held
			admitted := int64(0)
			for range held + 200 {
				switch r := reasonOf(t, e, take(c)); r {
				case tiergate.UseAllowed:
					admitted++
				case tiergate.UseUnavailable:
				default:
					t.Fatalf("a use is %s", r)
				}
			}
			want := held
			if tc.fallback.Allow {
				want = held + 200
			}
			if admitted != want {
				t.Errorf("%d were admitted, held were %d, want %d", admitted, held, want)
			}
			line.cut.Store(false)
			eventuallyIs(t, "the ledger is heard again", func() bool { return reasonOf(t, e, take(c)) == tiergate.UseAllowed })
		})
	}
}

func eventuallyIs(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

// When answers get lost after the ledger has done what was asked, nothing is handed out
// twice and nothing is counted twice.
func TestEngine_when_answers_get_lost(t *testing.T) {
	line := &ledgerLine{Memory: &Memory{}}
	e := openLine(t, line, t.TempDir())
	c := monthly(t, 50, 1)
	admitted := int64(0)
	for i := range 400 {
		line.lost.Store(i%3 == 1)
		if reasonOf(t, e, take(c)) == tiergate.UseAllowed {
			admitted++
		}
	}
	line.lost.Store(false)
	eventuallyIs(t, "nothing is left", func() bool {
		r := reasonOf(t, e, take(c))
		if r == tiergate.UseAllowed {
			admitted++
		}
		return r == tiergate.UseExhausted
	})
	if admitted != 50 {
		t.Errorf("%d of 50 were admitted", admitted)
	}
	eventuallyIs(t, "all usage is counted", func() bool {
		line.mu.Lock()
		defer line.mu.Unlock()
		for _, n := range line.usage {
			return n == 50
		}
		return false
	})
}

// A limit that is lowered takes what was handed out under the higher one back; one that is
// raised counts at once.
func TestEngine_follows_its_limits(t *testing.T) {
	ledger := &Memory{}
	e := open(t, ledger, t.TempDir())
	use := func(amount, rev int64) tiergate.UseReason {
		c := monthly(t, amount, 1)
		c.Rev = rev
		return reasonOf(t, e, take(c))
	}
	for range 10 {
		if r := use(1_000, 1); r != tiergate.UseAllowed {
			t.Fatal(r)
		}
	}
	if r := use(10, 2); r != tiergate.UseExhausted {
		t.Errorf("above the lower limit a use is %s", r)
	}
	if r := use(11, 3); r != tiergate.UseAllowed {
		t.Errorf("under the raised limit a use is %s", r)
	}
	if r := use(11, 3); r != tiergate.UseExhausted {
		t.Errorf("above the raised limit a use is %s", r)
	}
}

// Of several limits each has to have room. What one gave is given back when another has
// none, to the unit.
func TestEngine_takes_all_limits_or_none(t *testing.T) {
	e := open(t, &Memory{}, t.TempDir())
	wide, tight := monthly(t, 100, 1), monthly(t, 3, 1)
	tight.Key = "tight"
	rate := Claim{Key: "rate", Kind: tiergate.Rate, Scope: "team", Subject: "acme", Amount: 1, Burst: 50, Units: 1, Period: "minute"} // nothing comes back meanwhile
	for i := range 20 {
		out, _, err := e.Consume(t.Context(), take(rate, wide, tight), nil)
		if err != nil {
			t.Fatal(err)
		}
		if allowed := out.Reason == tiergate.UseAllowed; allowed != (i < 3) || !allowed && out.Denied != 2 {
			t.Fatalf("use %d: %+v", i, out)
		}
	}
	out, states := e.Check(t.Context(), take(rate, wide, tight), nil)
	if out.Reason != tiergate.UseExhausted || out.Denied != 2 || states[1].Min != 97 || states[0].Min < 46 || states[0].Min > 47 {
		t.Errorf("after three uses: %+v %+v", out, states)
	}
}

// A repeated call answers as the first did and takes nothing. The same key with something
// else is an error, and so is one that is being worked on.
func TestEngine_replays_a_key(t *testing.T) {
	line := &ledgerLine{Memory: &Memory{}}
	e := openLine(t, line, t.TempDir())
	keyed := func(fingerprint string) *Take {
		u := take(monthly(t, 5, 1))
		u.Key = &tiergate.UsageKey{Scope: "acme", Key: "k", Fingerprint: fingerprint}
		return u
	}
	first, _, err := e.Consume(t.Context(), keyed("a"), nil)
	if err != nil || first.Reason != tiergate.UseAllowed || first.Replayed {
		t.Fatal(first, err)
	}
	again, states, err := e.Consume(t.Context(), keyed("a"), nil)
	if err != nil || again.Reason != tiergate.UseAllowed || !again.Replayed || again.ID != first.ID || states[0].Min != 4 {
		t.Errorf("again: %+v %+v %v", again, states, err)
	}
	if _, _, err := e.Consume(t.Context(), keyed("b"), nil); tiergate.CodeOf(err) != tiergate.KeyReused {
		t.Errorf("another call under the key: %v", err)
	}
	if _, err := e.replays.begin(&tiergate.UsageKey{Scope: "acme", Key: "busy"}); err != nil {
		t.Fatal(err)
	}
	busy := take(monthly(t, 5, 1))
	busy.Key = &tiergate.UsageKey{Scope: "acme", Key: "busy"}
	if _, _, err := e.Consume(t.Context(), busy, nil); tiergate.CodeOf(err) != tiergate.Conflict {
		t.Errorf("a call that is being worked on: %v", err)
	}
}

// A reservation gets units that the process itself holds without need.
func TestEngine_reserves_what_it_holds(t *testing.T) {
	e := open(t, &Memory{}, t.TempDir())
	c := monthly(t, 20, 1)
	if r := reasonOf(t, e, take(c)); r != tiergate.UseAllowed {
		t.Fatal(r)
	}
	if e.Stats().Held == 0 {
		t.Fatal("nothing is held")
	}
	c.Units = 19
	out, r, _, err := e.Reserve(t.Context(), job("job", c), time.Minute, nil)
	if err != nil || out.Reason != tiergate.UseAllowed || r.State != tiergate.ReservationHeld {
		t.Fatalf("%+v %+v %v", out, r, err)
	}
	if r := reasonOf(t, e, take(monthly(t, 20, 1))); r != tiergate.UseContended {
		t.Errorf("beside the reservation a use is %s", r)
	}
	if _, err := e.Release(t.Context(), "job", ""); err != nil {
		t.Fatal(err)
	}
	eventuallyIs(t, "the units are back", func() bool { return reasonOf(t, e, take(monthly(t, 20, 1))) == tiergate.UseAllowed })
}

// While the ledger is away usage gathers on disk. When there is no more room for it, uses are
// refused, and take nothing; afterwards they go on, and none is lost.
func TestEngine_refuses_what_it_cannot_record(t *testing.T) {
	line := &ledgerLine{Memory: &Memory{}}
	e, err := Open(Options{Ledger: line, Dir: t.TempDir(), Spool: spool.Options{SegmentBytes: 4096, MaxBytes: 16384}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	c := monthly(t, 1_000_000, 1)
	c.Fallback.Allow = true // it is not the units that run out
	if r := reasonOf(t, e, take(c)); r != tiergate.UseAllowed {
		t.Fatal(r)
	}
	line.cut.Store(true)
	admitted, refused := int64(1), int64(0)
	for range 1_000 {
		out, _, err := e.Consume(t.Context(), take(c), nil)
		switch {
		case err != nil:
			t.Fatal(err)
		case out.Reason == tiergate.UseAllowed:
			admitted++
		case out.Reason == tiergate.UseUnavailable && out.Message == "The usage log is full":
			refused++
		default:
			t.Fatalf("%+v", out)
		}
	}
	if s := e.Stats(); refused == 0 || s.Unrecorded != refused || s.Spool.Rejected != refused {
		t.Errorf("%d were refused; the engine says %d, its log %d", refused, s.Unrecorded, s.Spool.Rejected)
	}
	line.cut.Store(false)
	eventuallyIs(t, "there is room again", func() bool {
		r := reasonOf(t, e, take(c))
		if r == tiergate.UseAllowed {
			admitted++
		}
		return r == tiergate.UseAllowed
	})
	eventuallyIs(t, "all that was admitted is counted, and nothing else", func() bool {
		return bucketOf(t, line.Memory).used == admitted
	})
}
