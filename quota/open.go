package quota

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota/spool"
)

// Open begins to count. It takes in what a former process left in o.Dir: its usage is
// uploaded, and what it held and did not use is given back, if that is known for sure.
func Open(o Options) (*Engine, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Patience = cmp.Or(o.Patience, time.Second)
	o.FallbackShares = cmp.Or(o.FallbackShares, 16)
	e := &Engine{
		options: o, log: o.Log, start: time.Now(), rates: NewRates(cmp.Or(o.RateKeys, 1_000_000)),
		accounts: map[tiergate.Bucket]*account{}, idle: forgotten{most: o.traces}, kick: make(chan struct{}, 1),
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the usage folder: %w", err)
	}
	o.Spool.Dir, o.Spool.Log = filepath.Join(o.Dir, "usage"), o.Log
	var err error
	if e.usage, err = spool.Open(o.Spool); err != nil {
		return nil, fmt.Errorf("open the usage log: %w", err)
	}
	if err := e.begin(); err != nil {
		return nil, errors.Join(err, e.usage.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	e.done.Go(func() { e.exchanges(ctx) })
	e.done.Go(func() { e.uploads(ctx) })
	return e, nil
}

// begin reads what former processes left and makes this one a holder.
func (e *Engine) begin() error {
	if err := e.findFormer(); err != nil {
		return err
	}
	err := e.usage.Walk(func(r spool.Record) error { // the keys of all usage that is kept
		if key, ok := keyOf(r.Payload); ok {
			e.replays.restore(&key, r.ID)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the usage log: %w", err)
	}
	holder, err := e.incarnate()
	if err != nil {
		return err
	}
	e.holder.Store(holder)
	return nil
}

// incarnate makes a new holder.
func (e *Engine) incarnate() (*incarnation, error) {
	id := uuid.NewString()
	c, err := createCounters(e.options.Dir, id, e.usage.ID())
	if err != nil {
		return nil, err
	}
	c.most = cmp.Or(e.options.slots, maxSlots)
	return &incarnation{id: id, counters: c, began: e.usage.End(), calls: &atomic.Int64{}}, nil
}

// reincarnate makes the process another holder, which holds nothing, after it was fenced.
func (e *Engine) reincarnate() error {
	holder, err := e.incarnate()
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	former := e.holder.Load()
	holder.calls = former.calls // those under way spend in the new name from now on
	e.holder.Store(holder)
	e.deadline.Store(0)
	e.idle = forgotten{most: e.options.traces}
	var failed error
	for _, a := range e.accounts {
		a.mu.Lock()
		if a.holder != former.id { // of one that departs
			a.mu.Unlock()
			continue
		}
		a.holding, a.holder, a.told = holding{}, holder.id, false
		if a.slot, err = holder.counters.slot(a.bucket); err != nil {
			failed = err
		}
		a.mu.Unlock()
	}
	return errors.Join(failed, former.counters.close(!former.doubtful.Load()))
}

// findFormer finds the counter files of former processes, and abandons those that cannot be
// trusted.
func (e *Engine) findFormer() error {
	files, err := os.ReadDir(e.options.Dir)
	if err != nil {
		return err
	}
	found := e.usage.Recovery()
	for _, file := range files {
		if !strings.HasPrefix(file.Name(), countersName) {
			continue
		}
		path := filepath.Join(e.options.Dir, file.Name())
		h, err := readCounters(path)
		switch {
		case err != nil:
		case h.head.Log != e.usage.ID():
			err = errors.New("it goes with another usage log")
		case found.Copied:
			err = errors.New("the usage log is a copy")
		case len(found.Quarantined) > 0, found.Behind > 0:
			err = errors.New("a part of the usage log is damaged or gone")
		}
		if err != nil {
			name := strings.TrimPrefix(filepath.Base(path), countersName)
			e.abandon(&formerHolder{path: path, head: countersHead{Holder: name}}, err.Error())
			continue
		}
		e.former = append(e.former, predecessor{formerHolder: h, upTo: e.usage.End()})
	}
	e.formers.Store(int64(len(e.former)))
	if found.Copied { // nothing of before is trusted any more: from here on the folder is ours
		return e.usage.Adopt()
	}
	return nil
}

// Close ends counting: nothing is admitted any more, what was used is uploaded, and what was
// not is given back, as far as the ledger can be reached before ctx ends. What is left is
// done by the next process that opens the folder.
func (e *Engine) Close(ctx context.Context) error {
	e.stopping.Store(true)
	for e.active.Load() > 0 && ctx.Err() == nil {
		sleep(ctx, time.Millisecond)
	}
	e.stop()
	e.done.Wait()
	e.writeDenials()
	err := e.leave(ctx)
	return errors.Join(err, e.usage.Close())
}

// leave uploads what is left and ends what the process is to the ledger.
func (e *Engine) leave(ctx context.Context) error {
	for ctx.Err() == nil {
		more, err := e.upload(ctx)
		if err == nil && !more && e.usage.Uploaded() == e.usage.End() {
			break
		}
		if err != nil {
			e.log.Warn("usage stays on disk until the next start", "error", err)
			break
		}
	}
	var failed error
	counted := ctx.Err() == nil && e.active.Load() == 0 && e.usage.Uploaded() == e.usage.End()
	for _, h := range e.incarnations() {
		failed = errors.Join(failed, e.end(ctx, h, counted))
	}
	return failed
}

// incarnations are the holders that the process is: one, and perhaps one that departs.
func (e *Engine) incarnations() []*incarnation {
	e.mu.RLock()
	defer e.mu.RUnlock()
	all := []*incarnation{e.holder.Load()}
	if e.departing != nil {
		all = append(all, e.departing.incarnation)
	}
	return all
}

// end retires a holder when the process ends, if all of its usage is counted, and gives its
// counter file up.
func (e *Engine) end(ctx context.Context, h *incarnation, counted bool) error {
	if !counted || h.doubtful.Load() {
		return e.closeCounters(h.counters, false)
	}
	err := e.retireOwn(ctx, h, e.usage.ID(), e.usage.Uploaded())
	if err != nil {
		e.log.Warn("what is held stays so until the next start", "error", err)
	}
	return e.closeCounters(h.counters, err == nil)
}

// closeCounters gives the counter file up. While a call is still under way, which waits for a
// disk that hangs, the memory stays mapped: it will write to it.
func (e *Engine) closeCounters(c *counters, remove bool) error {
	if e.active.Load() == 0 {
		return c.close(remove)
	}
	return c.file.Close()
}
