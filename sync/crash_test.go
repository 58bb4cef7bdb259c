package syncer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
)

var errCrash = errors.New("crash")

// A life is a sequence of processes over one data directory, each ended by a crash at any
// step of the disk's changes, and what we know must hold whatever happened.
type life struct {
	t   *rapid.T
	dir string

	// The process that runs now.
	s       *Syncer
	m       *memory
	crashIn int  // steps of the disk until the crash; 0 is never
	faultIn int  // steps until one that fails, as a full disk does
	dead    bool // it has crashed

	// What the source has.
	truth map[string]any
	at    tiergate.Resume
	older map[string]any // a dump from before

	// The model.
	states  map[uint64]map[string]any // by number, as they were in force
	issued  []tombstone               // all that anybody ever wanted to bury
	acked   int                       // of these, how many were promised to be durable
	revoked map[string]bool           // keys of which that is promised
	saved   uint64                    // the number of the last save that was complete
}

func (l *life) step(string) error {
	if l.dead {
		return errCrash
	}
	if l.crashIn > 0 {
		if l.crashIn--; l.crashIn == 0 {
			l.dead = true
			return errCrash
		}
	}
	if l.faultIn > 0 {
		if l.faultIn--; l.faultIn == 0 {
			return errors.New("no space left on device")
		}
	}
	return nil
}

// boot starts a process with the source away and holds what is in force against the model.
func (l *life) boot() {
	l.crashIn, l.faultIn, l.dead = 0, 0, false
	l.m = &memory{}
	l.s = New(Config{Source: gone{}, Applier: l.m, Dir: l.dir})
	l.s.before = l.step
	if err := l.s.openDisk(context.Background()); err != nil {
		l.t.Fatal(err)
	}
	l.s.store.idle = 0 // forget as soon as possible
	// What the last process buried is on disk now, or lost if nobody was promised anything.
	var kept []tombstone
	for i, tomb := range l.issued {
		there := slices.Contains(l.s.store.tombs, tomb)
		if !there && i < l.acked && (tomb.revoked || l.s.base == nil || tomb.seq > l.s.base.header.Seq) {
			l.t.Fatalf("the tombstone %+v is lost", tomb)
		}
		if there {
			kept = append(kept, tomb)
		}
	}
	l.issued, l.acked = kept, len(kept)
	base := l.s.base
	l.s.useBase(context.Background())
	if p := l.s.Problems(); len(p) > 0 {
		l.t.Fatalf("after a crash something on disk is taken for damage: %q", p)
	}
	if base == nil {
		if l.saved > 0 {
			l.t.Fatal("a state was saved, and none is in force")
		}
		return
	}
	l.checkState(base.header.Seq)
	l.states[l.s.goodSeq] = l.m.things
}

func (l *life) checkState(seq uint64) {
	if seq < l.saved {
		l.t.Fatalf("in force is state %d, and %d was saved", seq, l.saved)
	}
	was, ok := l.states[seq]
	if !ok {
		l.t.Fatalf("in force is state %d, which never was", seq)
	}
	want := maps.Clone(was)
	for i, tomb := range l.issued {
		key := string(tomb.kind) + "\n" + tomb.key
		if tomb.revoked || tomb.seq <= seq {
			continue
		}
		// What was promised must be away; what was not may be.
		if _, there := l.m.things[key]; i < l.acked || !there {
			delete(want, key)
		}
	}
	for key, thing := range want {
		if k, ok := thing.(*tiergate.Key); ok && l.m.things[key] != nil {
			have := l.m.things[key].(*tiergate.Key)
			if l.revoked[k.ID] && have.State != tiergate.KeyRevoked {
				l.t.Fatalf("the key %s came back to life", k.ID)
			}
			if have.State == tiergate.KeyRevoked {
				want[key] = have // seen revoked later than this state
			}
		}
	}
	if diff := cmp.Diff(want, l.m.things); diff != "" {
		l.t.Fatalf("state %d (-want +got):\n%s", seq, diff)
	}
}

func (l *life) reboot() {
	l.s.dropBase()
	l.s.store.close() // as the end of a process does
	l.boot()
}

// apply hands a revision to the process, as the source does.
func (l *life) apply(r tiergate.Revision) {
	f := &follower{s: l.s, at: l.s.from, cancel: func(error) {}}
	if err := f.Apply(context.Background(), r); err != nil {
		l.t.Fatal(err)
	}
	l.states[l.s.seq] = l.m.things
	l.s.saver.mu.Lock()
	for _, tomb := range l.s.saver.pending {
		if !slices.Contains(l.issued, tomb) {
			l.issued = append(l.issued, tomb)
		}
	}
	l.s.saver.mu.Unlock()
	l.older = cmpOr(l.older, l.truth)
}

func cmpOr(a, b map[string]any) map[string]any {
	if a != nil {
		return a
	}
	return maps.Clone(b)
}

// promise takes note of what is durable once the disk has said so.
func (l *life) promise() {
	if l.dead || l.s.store.tombsStale {
		return
	}
	l.acked = len(l.issued)
	for _, tomb := range l.issued {
		if tomb.revoked {
			l.revoked[tomb.key] = true
		}
	}
}

func (l *life) whole() tiergate.Revision {
	things := slices.Collect(maps.Values(l.truth))
	r := whole(l.at, things...)
	return r
}

// change changes the truth by one revision of one to three changes.
func (l *life) change(t *rapid.T) {
	if l.m.things == nil {
		return // a source begins with a whole state
	}
	var changes []tiergate.Change
	for range rapid.IntRange(1, 3).Draw(t, "changes") {
		name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
		var thing any = flag(name)
		if rapid.Bool().Draw(t, "key") {
			state := rapid.SampledFrom([]tiergate.KeyState{tiergate.KeyActive, tiergate.KeyRevoked}).Draw(t, "state")
			thing = apiKey(name, state)
		}
		c := tiergate.PutOf(thing)
		if rapid.Bool().Draw(t, "delete") {
			c.Put = nil
			delete(l.truth, thingKey(c))
		} else {
			l.truth[thingKey(c)] = thing
		}
		changes = append(changes, c)
	}
	l.at.Rev++
	if l.s.from != (tiergate.Resume{Epoch: l.at.Epoch, Rev: l.at.Rev - 1}) {
		l.apply(l.whole()) // the source was away meanwhile, and cannot go on from there
		return
	}
	l.apply(tiergate.Revision{Resume: l.at, Changes: tiergate.ChangesOf(changes...)})
}

// Whatever is applied, saved, deleted, revoked and restored, and wherever a crash or a full
// disk breaks in, a restart serves a state that was in force and no older than the last
// save, without what was deleted since; no revoked key comes back; nothing is named damaged.
func TestStore_keeps_its_promises_over_crashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &life{
			t: t, dir: tempDir(t), truth: map[string]any{}, at: tiergate.Resume{Epoch: "e0", Rev: 1},
			states: map[uint64]map[string]any{}, revoked: map[string]bool{},
		}
		l.boot()
		defer func() { l.s.dropBase(); l.s.store.close() }()
		t.Repeat(map[string]func(*rapid.T){
			"change": l.change,
			"resync": func(*rapid.T) { l.apply(l.whole()) },
			"restore an older dump": func(t *rapid.T) {
				l.truth, l.older = cmpOr(l.older, l.truth), nil
				l.at = tiergate.Resume{Epoch: fmt.Sprintf("e%d", len(l.states)), Rev: 1}
				l.apply(l.whole())
			},
			"save": func(t *rapid.T) {
				l.work(t, func() {
					l.s.saver.bury()
					l.promise()
					seq := l.s.goodSeq
					l.s.saver.mu.Lock()
					dirty := l.s.saver.dirty
					l.s.saver.mu.Unlock()
					if l.s.saver.save() && dirty && !l.dead {
						l.saved = seq
						l.promise()
					}
				})
			},
			"bury":    func(t *rapid.T) { l.work(t, func() { l.s.saver.bury(); l.promise() }) },
			"restart": func(*rapid.T) { l.reboot() },
			"": func(t *rapid.T) {
				for key, thing := range l.m.things {
					if k, ok := thing.(*tiergate.Key); ok && l.revoked[k.ID] && k.State != tiergate.KeyRevoked {
						t.Fatalf("%s is active", strings.ReplaceAll(key, "\n", " "))
					}
				}
			},
		})
	})
}

// work lets the disk be used, with a crash or a fault somewhere in it, and starts a new
// process after a crash.
func (l *life) work(t *rapid.T, use func()) {
	if l.s.saver == nil {
		return
	}
	switch rapid.IntRange(0, 3).Draw(t, "trouble") {
	case 0:
		l.crashIn = rapid.IntRange(1, 25).Draw(t, "crash in")
	case 1:
		l.faultIn = rapid.IntRange(1, 25).Draw(t, "fault in")
	}
	use()
	l.crashIn, l.faultIn = 0, 0
	if l.dead {
		l.reboot()
	}
}

func tempDir(t *rapid.T) string {
	dir, err := os.MkdirTemp("", "syncer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
