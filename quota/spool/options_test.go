package spool

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// Options that cannot work are refused before anything is made.
func TestOpen_refuses_impossible_options(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "usage")
	for name, o := range map[string]Options{
		"no folder":                       {},
		"a segment larger than all":       {Dir: dir, SegmentBytes: 1 << 20, MaxBytes: 1 << 20},
		"a segment smaller than anything": {Dir: dir, SegmentBytes: 100},
		"no room":                         {Dir: dir, MaxBytes: -1},
	} {
		if l, err := Open(o); err == nil {
			t.Errorf("%s: opened", name)
			_ = l.Close()
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder was made")
	}
}

// The identity does not read: the segments tell whose the folder is, and it may be a copy.
func TestOpen_takes_the_identity_from_the_segments(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir})
	mustAppend(t, l, "a")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, damage := range []func(name string) error{
		func(name string) error { return os.WriteFile(name, []byte("nonsense"), 0o600) },
		os.Remove,
	} {
		if err := damage(filepath.Join(dir, identityName)); err != nil {
			t.Fatal(err)
		}
		c := mustOpen(t, Options{Dir: dir})
		if c.ID() != l.ID() || !c.Recovery().Copied || len(mustRead(t, c).Records) != 1 {
			t.Errorf("%s and %s: %+v", c.ID(), l.ID(), c.Recovery())
		}
		if err := c.Adopt(); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A file system that cannot take room at once gets zeros written.
func TestAllocate_writes_zeros_where_it_must(t *testing.T) {
	f, err := disk{}.Open(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 1<<20 + 17
	if err := f.(diskFile).zero(size); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, size+1)
	if n, _ := f.ReadAt(data, 0); n != size || !bytes.Equal(data, make([]byte, size+1)) {
		t.Errorf("%d bytes", n)
	}
}
