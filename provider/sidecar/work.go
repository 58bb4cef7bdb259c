package sidecar

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tiergate/tiergate/provider/internal/sdk"
)

const (
	firstWait = 100 * time.Millisecond // the waits between attempts double, from …
	mostWait  = 5 * time.Second        // … to this

	// looksEvery is how often a sidecar without event streams is asked whether it is there.
	looksEvery = 10 * time.Second
	// checksApart is how often a sidecar is asked that leaves questions unanswered.
	checksApart = time.Second
	// spread is over how long the clients of a sidecar come back whose streams end at the same time.
	spread = 500 * time.Millisecond
	// lasting is how long a stream is there when it counts as one that works.
	lasting = 5 * time.Second
)

// work keeps in touch with the sidecar until ctx ends, and ends every question then.
func (p *Provider) work(ctx context.Context, w *sdk.Work) {
	p.mu.Lock()
	p.running = ctx
	p.mu.Unlock()
	p.away.Store(false)
	p.expired.Store(false)

	var all sync.WaitGroup
	all.Go(func() { p.tracker.Run(ctx, w.Closing) })
	all.Go(func() { (&contact{provider: p, work: w}).keep(ctx) })
	all.Wait()

	p.mu.Lock()
	p.running = nil
	p.mu.Unlock()
	p.fetching.Wait()
	p.cache.lost()
	p.door.http.CloseIdleConnections()
}

// A contact is what one life of a provider knows of its sidecar. It is used by one goroutine.
type contact struct {
	provider *Provider
	work     *sdk.Work
	met      bool      // it has answered once
	since    time.Time // when it went away; zero while it is there
	at       place     // the state that it was in last
}

// keep asks where the sidecar is and follows its event stream, again and again.
func (c *contact) keep(ctx context.Context) {
	away, broken := newBackoff(), newBackoff()
	for ctx.Err() == nil {
		r, err := c.ask(ctx)
		if err != nil {
			c.gone(ctx, err, longer(away.Next(), err))
			continue
		}
		away.Reset()
		c.there(r.at)
		address := c.provider.door.streamOf(r.streams)
		if address == "" {
			c.pause(ctx, looksEvery)
			continue
		}
		began := time.Now()
		err = c.follow(ctx, address, r.at)
		c.provider.options.Log.Debug("event stream ended", "error", err)
		if time.Since(began) >= lasting { // one that has ended may be connected again, but not by all who had one at once
			broken.Reset()
			c.pause(ctx, rand.N(spread))
			continue
		}
		c.pause(ctx, longer(broken.Next(), err))
	}
}

func newBackoff() *sdk.Backoff { return &sdk.Backoff{First: firstWait, Most: mostWait} }

// longer is how long to wait, and no shorter than the sidecar wants.
func longer(d time.Duration, err error) time.Duration {
	if busy, ok := errors.AsType[*busyError](err); ok {
		return max(d, busy.wait)
	}
	return d
}

// ask asks about all flags, for nobody: the answer says where the event stream is that tells of
// changes for anybody.
func (c *contact) ask(ctx context.Context) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.provider.options.Timeout)
	defer cancel()
	return c.provider.door.all(ctx, nil, true)
}

// there takes in that the sidecar is there, in a state.
func (c *contact) there(at place) {
	p := c.provider
	select {
	case <-p.doubt: // which was about before
	default:
	}
	recovered := c.met && !c.since.IsZero()
	moved := c.met && (at != c.at || !at.known())
	c.met, c.since, c.at = true, time.Time{}, at
	p.away.Store(false)
	p.expired.Store(false)
	c.work.Ready("the sidecar answers")
	if recovered || moved {
		c.work.Changed(sdk.Change{All: true, Revision: at.String()})
	}
}

// gone takes in that the sidecar is away, and waits for a while, or until somebody was answered.
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
	switch {
	case !errors.Is(why, errAway): // it is there and refuses: old answers are not ours to give
		p.away.Store(false)
		c.over(why)
	case p.options.GracePeriod < 0:
		p.away.Store(true)
		c.work.Stale(why)
	case left > 0:
		p.away.Store(true)
		c.work.Stale(why)
		wait = min(wait, left)
	default:
		p.away.Store(true)
		c.over(fmt.Errorf("it has been away for %v: %w", p.options.GracePeriod, why))
	}
	select {
	case <-p.back:
	case <-time.After(wait):
	case <-ctx.Done():
	}
}

// over says that old answers are not used any more.
func (c *contact) over(why error) {
	c.provider.expired.Store(true)
	c.work.Lost(why)
}

// pause waits for a while, or until somebody doubts that the sidecar is there.
func (c *contact) pause(ctx context.Context, d time.Duration) {
	select {
	case <-c.provider.doubt:
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// follow keeps the cache honest by an event stream, until that ends.
func (c *contact) follow(ctx context.Context, address string, at place) error {
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
	p.cache.connected(at)
	defer p.cache.lost()
	silence.Stop()
	silence = time.AfterFunc(silentFor, func() { cancel(errors.New("the event stream is silent")) })
	defer silence.Stop()

	var checking sync.WaitGroup
	defer checking.Wait()
	defer cancel(nil)
	checking.Go(func() { c.check(ctx, cancel) })
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

// check asks the sidecar whether it is there when a question was not answered, though its event
// stream is connected: a stream on a connection that leads nowhere says nothing for long.
func (c *contact) check(ctx context.Context, end context.CancelCauseFunc) {
	for {
		select {
		case <-c.provider.doubt:
		case <-ctx.Done():
			return
		}
		if _, err := c.ask(ctx); err != nil {
			end(err)
			return
		}
		select {
		case <-time.After(checksApart):
		case <-ctx.Done():
			return
		}
	}
}
