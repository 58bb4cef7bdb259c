package syncer

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
)

// Ordinary changes are saved at most once in five seconds, a delete at once, and what is left at the end.
func TestSaver_saves_when_it_must(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store, err := openStore(dir, &testKey, noStep, func(p string) { t.Error(p) })
		if err != nil {
			t.Fatal(err)
		}
		defer store.close()
		store.load()
		began := time.Now()
		var saved []string
		var seq atomic.Uint64
		var last uint64 // the state that was written; it is asked for its age as well
		v := &saver{
			store: store, log: Config{}.withDefaults().Log, every: 5 * time.Second, wake: make(chan struct{}, 1),
			fault: func(p string) {
				if p != "" {
					t.Error(p)
				}
			},
			state: func() (tiergate.Revision, uint64, time.Time, bool) {
				if last != seq.Load() {
					last = seq.Load()
					saved = append(saved, time.Since(began).String())
				}
				return whole(at(int64(seq.Load())), flag("a")), seq.Load(), time.Time{}, true
			},
		}
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { v.run(ctx) })
		note := func(after time.Duration, tombs ...tombstone) {
			time.Sleep(after)
			number := seq.Add(1)
			for i := range tombs {
				tombs[i].seq = number
			}
			v.note(tombs, len(tombs) > 0)
			synctest.Wait()
		}
		note(0) // at once: nothing was saved before
		for range 10 {
			note(400 * time.Millisecond) // together, at 5 s
		}
		note(2*time.Second, tombstone{kind: tiergate.KindFlag, key: "x"}) // at once, at 6 s
		note(time.Second)                                                 // at 11 s
		time.Sleep(10 * time.Second)
		note(time.Second) // at once, at 18 s
		note(time.Second) // at the end, at 19 s
		cancel()
		running.Wait()
		if diff := cmp.Diff([]string{"0s", "5s", "6s", "11s", "18s", "19s"}, saved); diff != "" {
			t.Errorf("saved at (-want +got):\n%s", diff)
		}
		if len(store.tombs) != 1 || store.tombsStale {
			t.Errorf("tombstones %v", store.tombs)
		}
	})
}
