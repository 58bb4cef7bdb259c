package syncer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tiergate/tiergate"
)

// endless is a file of any size that ends a context once some of it was read.
type endless struct {
	head []byte
	end  context.CancelFunc
	read int64
}

func (e *endless) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(e.head)) {
		copy(p, e.head[off:])
	}
	if e.read += int64(len(p)); e.read > 1<<20 {
		e.end()
	}
	return len(p), nil
}

// Whoever wants to stop does not wait until a huge file was read.
func TestReadHeader_ends_with_its_context(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := &endless{head: encoded(t, things()), end: cancel}
	if _, _, err := readHeader(ctx, f, 1<<40, testKey); !errors.Is(err, context.Canceled) || f.read > 4<<20 {
		t.Errorf("read %d bytes: %v", f.read, err)
	}
}

// Nor until a huge state was put in force; what was not read to its end is neither in force nor refused.
func TestSyncer_stops_in_the_middle_of_a_state(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read := 0
	s := New(Config{Applier: &memory{}, Name: "test"})
	err := s.apply(ctx, tiergate.Revision{Resume: at(1), Whole: true, Changes: func(yield func(tiergate.Change, error) bool) {
		for yield(tiergate.PutOf(flag(fmt.Sprint(read))), nil) {
			if read++; read == 5000 {
				cancel()
			}
		}
	}})
	if !errors.Is(err, context.Canceled) || read > 7000 || s.Refused() != 0 {
		t.Errorf("after %d changes: %v; refused %d", read, err, s.Refused())
	}
}

// A file that is too large to be ours is named and not read; a state that is too large is not written.
func TestStore_bounds_the_state_file(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, whole(at(1), flag("a")))
	if err := os.Truncate(filepath.Join(dir, stateName), maxState+1); err != nil {
		t.Fatal(err)
	}
	_, s := restart(t, Config{Dir: dir})
	if p := strings.Join(s.Problems(), "\n"); !strings.Contains(p, "last-known-good is not used: it has 4294967297 bytes, and 4294967296 are allowed") {
		t.Errorf("problems are %q", p)
	}
	var out bytes.Buffer
	err := writeState(&boundedWriter{&out, 1000}, testKey, header{Epoch: epoch, Seq: 1}, manyFlags(1000))
	if err == nil || !strings.Contains(err.Error(), "too large to be kept on disk") || out.Len() > 1000 {
		t.Errorf("wrote %d bytes: %v", out.Len(), err)
	}
	if err := writeState(&boundedWriter{io.Discard, 1 << 20}, testKey, header{Epoch: epoch, Seq: 1}, manyFlags(10)); err != nil {
		t.Error(err)
	}
}
