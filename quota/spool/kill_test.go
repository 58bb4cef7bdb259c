package spool

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
)

// A log with small segments, so that they are made and removed all the time.
func smallLog(dir string) Options {
	return Options{Dir: dir, SegmentBytes: 16 << 10, MaxBytes: 1 << 20, Keep: 1}
}

// victim appends records from several goroutines, says of each that is durable, and uploads
// them, until it is killed.
func victim(dir string) {
	l, err := Open(smallLog(dir))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	first, _ := strconv.ParseUint(os.Getenv("TIERGATE_TEST_FIRST"), 10, 64)
	go upload(l)
	var out sync.Mutex
	for writer := range uint64(4) {
		go func() {
			for n := writer; ; n += 4 {
				id := idFor(first + n)
				t, err := l.Append(id, id[:])
				if err == nil {
					err = t.Wait(context.Background())
				}
				out.Lock()
				if err == nil {
					fmt.Println("durable", first+n)
				} else {
					fmt.Println("error", err)
				}
				out.Unlock()
			}
		}()
	}
	select {}
}

// upload takes what is in the log, and says up to where before it advances.
func upload(l *Log) {
	for l.Pending(context.Background()) == nil {
		b, err := l.Read(50, 1<<20)
		if err == nil {
			for _, r := range b.Records {
				fmt.Println("uploading", binary.BigEndian.Uint64(r.ID[:]), b.From, b.Lost)
			}
			err = l.Advance(b.To)
		}
		if err != nil {
			fmt.Println("error", err)
		}
	}
}

func idFor(n uint64) (id [16]byte) {
	binary.BigEndian.PutUint64(id[:], n)
	return id
}

// life starts a victim, kills it after some lines, and returns what it said.
func life(t *testing.T, dir string, first uint64, lines int) (durable []uint64, uploaded map[uint64]bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "TIERGATE_TEST_VICTIM="+dir, fmt.Sprintf("TIERGATE_TEST_FIRST=%d", first))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	uploaded = map[uint64]bool{}
	for s := bufio.NewScanner(out); s.Scan(); lines-- {
		if lines == 0 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		var n uint64
		switch line := s.Text(); {
		case scanLine(line, "durable", &n):
			durable = append(durable, n)
		case scanLine(line, "uploading", &n):
			uploaded[n] = true
		case lines > 0:
			t.Fatalf("the victim says: %s", line)
		}
	}
	_ = cmd.Wait() // it was killed
	return durable, uploaded
}

func scanLine(line, word string, n *uint64) bool {
	k, _ := fmt.Sscanf(line, word+" %d", n)
	return k == 1
}

// A process is killed again and again while it appends and uploads. What it said to be
// durable was either uploaded or is in the log, once, and nothing is out of order.
func TestKill_loses_nothing(t *testing.T) {
	dir := t.TempDir()
	kills, _ := strconv.Atoi(os.Getenv("TIERGATE_KILLS"))
	if kills == 0 {
		kills = 12
	}
	known, first := 0, uint64(0)
	for range kills {
		durable, uploaded := life(t, dir, first, 1+rand.IntN(3000))
		l, err := Open(smallLog(dir))
		if err != nil {
			t.Fatal(err)
		}
		if found := l.Recovery(); len(found.Quarantined) > 0 || found.Behind > 0 || found.Copied || found.CursorLost {
			t.Fatalf("damage where there is none: %+v", found)
		}
		there := drainAll(t, l)
		for _, n := range durable {
			if !uploaded[n] && !there[n] {
				t.Fatalf("record %d was acknowledged and is lost", n)
			}
		}
		known += len(durable)
		first += 1 << 20
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kills, %d acknowledged records", kills, known)
	if known == 0 {
		t.Error("nothing was acknowledged before a kill")
	}
}

// drainAll takes everything out of a log. The records of one writer come in its order.
func drainAll(t *testing.T, l *Log) map[uint64]bool {
	t.Helper()
	there, last := map[uint64]bool{}, map[uint64]uint64{}
	for {
		b, err := l.Read(1000, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if b.To == b.From {
			return there
		}
		for _, r := range b.Records {
			n := binary.BigEndian.Uint64(r.ID[:])
			if there[n] || last[n%4] > n {
				t.Fatalf("record %d is there twice or out of order", n)
			}
			if r.ID != idFor(n) || string(r.Payload) != string(r.ID[:]) {
				t.Fatalf("record %d holds something else", n)
			}
			there[n], last[n%4] = true, n
		}
		if b.Lost > 0 {
			t.Fatalf("%d records are lost at %d", b.Lost, b.From)
		}
		if err := l.Advance(b.To); err != nil {
			t.Fatal(err)
		}
	}
}
