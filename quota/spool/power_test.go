package spool

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func isDisk(err error) bool {
	return errors.Is(err, errCrash) || errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENOSPC)
}

// run does the steps until the power is gone.
func (w *world) run(all []step) error {
	if err := w.open(); err != nil {
		if w.fs.dead {
			return nil
		}
		return err
	}
	for i, s := range all {
		err := w.do(s)
		if w.fs.dead {
			return nil
		}
		if err != nil {
			return fmt.Errorf("step %d %v: %w", i, s, err)
		}
	}
	return nil
}

// after opens a disk as a power cut left it, checks it, and goes on.
func (w *world) after(fs *simFS) error {
	if err := w.restart(fs); err != nil {
		return err
	}
	for i := range 3 {
		if err := w.append(50 * i); err != nil {
			return err
		}
		if err := w.turn(); err != nil {
			return err
		}
	}
	return w.drain()
}

// clone returns the model, apart from its log and its disk.
func (w *world) clone() *world {
	c := newWorld(nil)
	c.o.Keep = w.o.Keep
	c.now, c.serial, c.next, c.id, c.at, c.hash, c.behind, c.peak = w.now, w.serial, w.next, w.id, w.at, w.hash, w.behind, w.peak
	maps.Copy(c.acked, w.acked)
	maps.Copy(c.hashes, w.hashes)
	maps.Copy(c.past, w.past)
	maps.Copy(c.counted, w.counted)
	c.renewing = w.renewing
	c.waiting = append(c.waiting, w.waiting...)
	c.maybe = append(c.maybe, w.maybe...)
	return c
}

// powerCuts runs a trace up to each of its crashes, and each of these with some images of what
// the disk may hold. It returns how many images and calls there were.
func powerCuts(seed uint64, length, images int, faults bool) (cuts, calls int, fired map[string]int, err error) {
	fired = map[string]int{}
	for crash := 1; ; crash++ {
		rnd := rand.New(rand.NewPCG(seed, 2))
		all := steps(rnd, length, faults)
		fs := newSimFS(seed)
		fs.crashAt = crash
		w := newWorld(fs)
		if seed%3 == 0 {
			w.o.Keep = -1
		}
		if err := w.run(all); err != nil {
			return cuts, calls, fired, fmt.Errorf("seed %d, before crash %d: %w\n%s", seed, crash, err, strings.Join(fs.trace, "\n"))
		}
		// What was appended by then and what had become durable is known to its callers.
		if w.log != nil {
			if err := w.settle(); err != nil {
				return cuts, calls, fired, err
			}
		}
		for i := range images {
			how := min(i, keepSome)
			cuts++
			if err := oneCut(w.clone(), fs, how, seed+uint64(i)); err != nil {
				return cuts, calls, fired, fmt.Errorf("seed %d, crash at call %d, image %d: %w\n%s", seed, crash, i, err, strings.Join(fs.trace, "\n"))
			}
		}
		for name, n := range fs.fired {
			fired[name] += n
		}
		if !fs.dead {
			return cuts, crash - 1, fired, nil
		}
	}
}

// oneCut opens one image; and the image of a power cut while that is opened.
func oneCut(w *world, fs *simFS, how int, seed uint64) error {
	rnd := rand.New(rand.NewPCG(seed, 3))
	image := fs.cut(how, rnd)
	if how == keepSome && rnd.IntN(3) == 0 {
		image.crashAt = 1 + rnd.IntN(12)
		o := w.o
		o.FS = image
		if l, err := open(o); err == nil {
			l.retire(true)
			image.dead = true
		} else if !errors.Is(err, errCrash) {
			return err
		}
		image = image.cut(rnd.IntN(3), rnd)
	}
	return w.after(image)
}

// The power goes away at each call of many traces, whatever the disk has kept by then: no
// acknowledged record is lost, none is there twice, their order and numbers are kept, and
// the cursor is never ahead of what the ledger counted nor behind what it was promised.
func TestPower_at_every_call(t *testing.T) {
	traces, _ := strconv.Atoi(os.Getenv("TIERGATE_POWER_TRACES"))
	if traces == 0 {
		traces = 60
	}
	cuts, calls, fired := 0, 0, map[string]int{}
	for seed := range uint64(traces) {
		n, m, f, err := powerCuts(seed, 60+int(seed%3)*70, 6, seed%2 == 1)
		if err != nil {
			t.Fatal(err)
		}
		cuts, calls = cuts+n, calls+m
		for name, n := range f {
			fired[name] += n
		}
	}
	t.Logf("%d crash images of %d calls in %d traces; faults: %v", cuts, calls, traces, fired)
	for _, name := range []string{"crash", "EIO", "ENOSPC"} {
		if fired[name] == 0 {
			t.Errorf("the fault %s never happened", name)
		}
	}
}
