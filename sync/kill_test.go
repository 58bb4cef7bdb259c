package syncer

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
)

// victim is a process that saves all the time, and tells when the revocation of key k and
// the deletion of flag gone are durable: once it goes on to save a state after them.
func victim(dir string) {
	s := New(Config{Applier: &memory{}, Dir: dir, Name: "test", SaveEvery: time.Microsecond, Source: sourceFunc(
		func(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
			_ = f.Apply(ctx, whole(at(1), apiKey("k", tiergate.KeyActive), flag("gone"), flag("stays")))
			for rev := int64(2); ; rev += 3 {
				_ = f.Apply(ctx, deletes(at(rev), flag("gone")))
				_ = f.Apply(ctx, puts(at(rev+1), apiKey("k", tiergate.KeyRevoked)))
				_ = f.Apply(ctx, puts(at(rev+2), flag(fmt.Sprint(rev%100))))
				time.Sleep(100 * time.Microsecond)
			}
		})})
	steps := 0
	s.before = func(name string) error {
		s.applying.Lock()
		seq := s.seq
		s.applying.Unlock()
		if name == "keep previous" && seq > 3 {
			if steps++; steps > 2 { // everything up to number 3 was buried before
				fmt.Println("durable")
			}
		}
		return nil
	}
	_ = s.Run(context.Background())
	os.Exit(1)
}

// A process that is killed at a random moment leaves a state to start from, in which what
// was revoked is revoked and what was deleted is not there.
func TestKill_loses_nothing_that_was_durable(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = append(os.Environ(), "TIERGATE_TEST_VICTIM="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range rand.N(10) + 1 {
			if !lines.Scan() {
				t.Fatalf("the process ended by itself: %v", lines.Err())
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()

		m, s := restart(t, Config{Dir: dir})
		if p := s.Problems(); len(p) > 0 {
			t.Errorf("problems: %q", p)
		}
		k, _ := m.get(apiKey("k", "")).(*tiergate.Key)
		if k == nil || k.State != tiergate.KeyRevoked || m.get(flag("gone")) != nil || m.get(flag("stays")) == nil {
			t.Errorf("after a kill: key %+v, things %v", k, m.things)
		}
	}
}
