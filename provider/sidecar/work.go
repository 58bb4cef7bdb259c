package sidecar

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tiergate/tiergate/internal/backoff"
	"github.com/tiergate/tiergate/provider/internal/sdk"
)

const (
	firstWait = 100 * time.Millisecond // the waits between attempts double, from …
	mostWait  = 5 * time.Second        // … to this

	// looksEvery is after how long at most one looks whether the sidecar is there and its data are new.
	looksEvery = 10 * time.Second
	// looksApart is how far two looks are apart at least, however many questions are not answered.
	looksApart = time.Second
	// spread is over how long the clients of a sidecar come back whose streams end at the same time.
	spread = 500 * time.Millisecond
	// lasting is how long a stream is there when it counts as one that works.
	lasting = 5 * time.Second
	// findTime bounds the search for the event stream, with which all flags are told: many megabytes.
	findTime = 30 * time.Second
)

// work keeps in touch with the sidecar until ctx ends, and ends every question then.
func (p *Provider) work(ctx context.Context, w *sdk.Work) {
	p.mu.Lock()
	p.running = ctx
	p.mu.Unlock()
	p.away.Store(false)
	p.expired.Store(false)
	p.old.Store(false)
	p.tracker.Open()

	var all sync.WaitGroup
	all.Go(func() { p.tracker.Run(ctx, w.Closing) })
	all.Go(func() { (&contact{provider: p, work: w}).keep(ctx) })
	all.Wait()

	p.mu.Lock()
	p.running = nil
	p.mu.Unlock()
	p.fetching.Wait()
	p.cache.forget() // a later life begins with nothing, however long after this one
	p.door.closeIdle()
}

// A contact is what one life of a provider knows of its sidecar. It is used by one goroutine, and
// while that finds or follows an event stream by another one that watches.
type contact struct {
	provider *Provider
	work     *sdk.Work
	met      bool      // it has answered once
	since    time.Time // when it went away; zero while it is there
	at       place     // the state that it was in last
	seen     sight     // by the last look …
	looked   time.Time // … which was then
	found    telling   // where its event stream is
}

// keep looks whether the sidecar is there and follows its event stream, again and again.
func (c *contact) keep(ctx context.Context) {
	away, broken := newBackoff(), newBackoff()
	for ctx.Err() == nil {
		err := c.look(ctx)
		if err == nil {
			away.Reset()
			c.there()
			err = c.listen(ctx, broken)
		}
		if err != nil {
			c.gone(ctx, err, longer(away.Next(), err))
		}
	}
}

// listen finds the event stream and follows it, until it is time to look for it anew. An error is
// that of a look at the sidecar meanwhile.
func (c *contact) listen(ctx context.Context, broken *backoff.Backoff) error {
	log := c.provider.options.Log
	err := c.watched(ctx, c.find)
	if err != nil {
		if _, ended := errors.AsType[*lookError](err); !ended && ctx.Err() == nil {
			log.Warn("the event stream is not found, and nothing is kept meanwhile", "error", err)
		}
		return c.unconnected(ctx, broken, err)
	}
	address := c.provider.door.streamOf(c.found.streams)
	if address == "" {
		return c.watchFor(ctx, later(c.provider.looksEvery))
	}
	began := time.Now()
	err = c.watched(ctx, func(ctx context.Context) error { return c.follow(ctx, address) })
	log.Debug("event stream ended", "error", err)
	if time.Since(began) < lasting {
		return c.unconnected(ctx, broken, err)
	}
	broken.Reset()
	if look, ok := errors.AsType[*lookError](err); ok {
		return look.error
	}
	return c.watchFor(ctx, rand.N(spread)) // it may be connected again, but not by all who had one at once
}

// unconnected waits before the event stream is looked for anew, because there is none for why.
func (c *contact) unconnected(ctx context.Context, broken *backoff.Backoff, why error) error {
	if look, ok := errors.AsType[*lookError](why); ok {
		return look.error
	}
	c.found.tag = "" // the next search tells of a stream anew
	wait := longer(broken.Next(), why)
	if errors.Is(why, errTooLarge) { // and will be, after many megabytes
		wait = max(wait, later(c.provider.looksEvery))
	}
	return c.watchFor(ctx, wait)
}

func newBackoff() *backoff.Backoff { return &backoff.Backoff{First: firstWait, Most: mostWait} }

// longer is how long to wait, and no shorter than the sidecar wants.
func longer(d time.Duration, err error) time.Duration {
	if busy, ok := errors.AsType[*busyError](err); ok {
		return max(d, busy.wait)
	}
	return d
}

// look looks at the sidecar: whether it is there, and how it is.
func (c *contact) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.provider.options.Timeout)
	defer cancel()
	select {
	case <-c.provider.doubt: // which was about before
	default:
	}
	c.looked = time.Now()
	seen, err := c.provider.door.look(ctx)
	if err != nil {
		return err
	}
	c.seen = seen
	return nil
}

// find finds the event stream that tells of changes for anybody, from a state on that may be another
// one than was seen.
func (c *contact) find(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(findTime, c.provider.options.Timeout))
	defer cancel()
	found, err := c.provider.door.find(ctx, &c.found)
	if err != nil {
		return err
	}
	c.found = found
	if found.at.known() && found.at != c.at {
		c.changed(found.at)
	}
	return nil
}

// there takes in that the sidecar is there, as it was seen.
func (c *contact) there() {
	p, at := c.provider, c.seen.at
	recovered := c.met && !c.since.IsZero()
	moved := c.met && (at != c.at || !at.known())
	first := !c.met || p.expired.Load()
	c.met, c.since, c.at = true, time.Time{}, at
	p.away.Store(false)
	p.expired.Store(false)
	if first {
		c.work.Ready("the sidecar answers") // also one whose data are old has something to answer from
	}
	c.aged()
	if recovered || moved {
		c.changed(at)
	}
}

// changed takes in that the sidecar is in another state, and nobody has told what changed.
func (c *contact) changed(at place) {
	c.at = at
	c.provider.cache.lost() // what is under way was asked before
	c.work.Changed(sdk.Change{All: true, Revision: at.String()})
}

// aged takes in whether the sidecar's data are old: its event stream says nothing of that.
func (c *contact) aged() {
	c.provider.old.Store(c.seen.stale)
	if c.seen.stale {
		c.work.Stale(errors.New("the sidecar says that its data are old"))
	} else {
		c.work.Ready("the sidecar answers")
	}
}

// gone takes in that the sidecar is away, and waits for a while.
func (c *contact) gone(ctx context.Context, why error, wait time.Duration) {
	if ctx.Err() != nil {
		return
	}
	p := c.provider
	if c.since.IsZero() {
		c.since = time.Now()
		p.options.Log.Warn("the sidecar does not answer", "error", why)
	}
	left := p.options.GracePeriod - time.Since(c.since)
	p.away.Store(errors.Is(why, errAway))
	switch {
	case !p.away.Load(): // it is there and refuses: old answers are not ours to give
		c.over(why)
	case p.options.GracePeriod < 0, left > wait:
		c.work.Stale(why)
	default:
		if left > 0 {
			c.work.Stale(why)
			if !backoff.Sleep(ctx, left) {
				return
			}
			wait -= left
		}
		c.over(fmt.Errorf("it has been away for %v: %w", p.options.GracePeriod, why))
	}
	backoff.Sleep(ctx, wait)
}

// over says that old answers are not used any more.
func (c *contact) over(why error) {
	c.provider.expired.Store(true)
	c.work.Lost(why)
}

// watchFor watches the sidecar for a while.
func (c *contact) watchFor(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return c.watch(ctx)
}

// watch looks at the sidecar now and then until ctx ends, to find that its data have become old or
// new, and when a question was not answered: an event stream on a connection that leads nowhere
// says nothing for long. It is an error that a look fails then, or after another one that failed.
func (c *contact) watch(ctx context.Context) error {
	for wait, doubted := later(c.provider.looksEvery), false; ; wait = later(c.provider.looksEvery) {
		if doubted {
			wait = looksApart
		}
		select {
		case <-c.provider.doubt:
			doubted = true
			backoff.Sleep(ctx, looksApart-time.Since(c.looked))
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		switch err := c.look(ctx); {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			doubted = false
			c.aged()
		case doubted:
			return err
		default:
			doubted = true
		}
	}
}

// later draws from the upper half of d: the clients of a sidecar do not ask in step.
func later(d time.Duration) time.Duration { return d/2 + rand.N(d/2) }

// A lookError ends what was done meanwhile, because a look at the sidecar has failed.
type lookError struct{ error }

// watched does something while another goroutine watches the sidecar.
func (c *contact) watched(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel(nil)
	watching.Go(func() {
		if err := c.watch(ctx); err != nil {
			cancel(&lookError{err})
		}
	})
	if err := do(ctx); err != nil {
		return causeOf(ctx, err)
	}
	return nil
}

// follow keeps the cache honest by an event stream, until that ends.
func (c *contact) follow(ctx context.Context, address string) error {
	p := c.provider
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(p.options.Timeout, func() { cancel(errors.New("the sidecar does not connect the event stream")) })
	defer silence.Stop()
	s, err := p.door.connect(ctx, address)
	if err != nil {
		return causeOf(ctx, err)
	}
	defer s.close()
	p.cache.connected(c.at)
	defer p.cache.lost()
	silence.Stop()
	silence = time.AfterFunc(silentFor, func() { cancel(errors.New("the event stream is silent")) })
	defer silence.Stop()
	for {
		e, err := s.next(func() { silence.Reset(silentFor) })
		if err != nil {
			return causeOf(ctx, err)
		}
		if at := placeOf(e.Etag); at.known() {
			c.at = at
		}
		p.cache.changed(placeOf(e.Etag), e.Flags)
		c.work.Changed(sdk.Change{Flags: e.Flags, All: len(e.Flags) == 0, Revision: c.at.String()})
	}
}

func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
