package quota

import (
	"context"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota/spool"
)

// A slowDisk makes nothing durable before it is let.
type slowDisk struct {
	spool.FS
	let chan struct{}
}

type slowFile struct {
	spool.File
	let chan struct{}
}

func (d slowDisk) Open(name string, flag int) (spool.File, error) {
	f, err := d.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return slowFile{f, d.let}, nil
}

func (f slowFile) Sync() error {
	<-f.let
	return f.File.Sync()
}

// A use is answered when its record is on disk, not before.
func TestEngine_answers_only_what_is_on_disk(t *testing.T) {
	disk := slowDisk{spool.Disk(), make(chan struct{}, 1000)}
	for range 100 {
		disk.let <- struct{}{} // opening takes a few
	}
	e, err := Open(Options{Ledger: &Memory{}, Dir: t.TempDir(), Spool: spool.Options{FS: disk}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		close(disk.let)
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if r := reasonOf(t, e, take(monthly(t, 10, 1))); r != tiergate.UseAllowed { // and so does the first use
		t.Fatal(r)
	}
	eventuallyIs(t, "all is uploaded", func() bool { return e.Stats().Spool.Records == 0 })
	for len(disk.let) > 0 {
		<-disk.let
	}
	answered := make(chan tiergate.UseReason, 1)
	go func() {
		out, _, _ := e.Consume(context.Background(), take(monthly(t, 10, 1)), nil)
		answered <- out.Reason
	}()
	select {
	case r := <-answered:
		t.Errorf("a use is %s before its record is on disk", r)
	case <-time.After(300 * time.Millisecond):
	}
	disk.let <- struct{}{}
	select {
	case r := <-answered:
		if r != tiergate.UseAllowed {
			t.Errorf("a use is %s once its record is on disk", r)
		}
	case <-time.After(10 * time.Second):
		t.Error("a use is not answered though its record is on disk")
	}
}
