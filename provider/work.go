package provider

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/provider/internal/sdk"
	syncer "github.com/tiergate/tiergate/sync"
)

// follows is how far apart two looks at what changed are: a source that changes all the time
// costs no more than that.
const follows = 50 * time.Millisecond

// work follows the source until ctx ends.
func (p *Provider) work(ctx context.Context, w *sdk.Work) {
	o := &p.options
	s := syncer.New(syncer.Config{
		Source: p.source, Applier: p.engine, Name: o.Name, Dir: o.Dir, KeyFile: o.KeyFile, Log: o.Log,
	})
	p.source.report = w.Trouble
	if p.stream != nil {
		p.stream.unread = p.source.fail
	}
	p.tracker.Open()
	var all sync.WaitGroup
	all.Go(func() {
		if err := p.follow(ctx, s); err != nil {
			w.Broken(err)
		}
	})
	all.Go(func() { p.watch(ctx, w, s) })
	all.Go(func() { p.tracker.Run(ctx, w.Closing) })
	all.Wait()
}

// follow follows the source until ctx ends. An error is about what can never work.
func (p *Provider) follow(ctx context.Context, s *syncer.Syncer) error {
	if p.stream == nil {
		return s.Run(ctx)
	}
	if p.stream.set != p.set {
		return fmt.Errorf("the flag set %q is not what the stream is of, %q: StreamOptions.Set says which it is", p.set, p.stream.set)
	}
	if err := p.stream.unusable(); err != nil {
		return err
	}
	return s.Run(ctx)
}

// watch tells when the first state is in force, of each change from then on, when what is in force
// grows old, and when it is fresh again.
func (p *Provider) watch(ctx context.Context, w *sdk.Work, s *syncer.Syncer) {
	look := time.NewTicker(p.interval())
	defer look.Stop()
	select {
	case <-s.Ready():
	case <-ctx.Done():
		return
	}
	first, began := p.engine.Current().Resume(), time.Now() // before anybody relies on being told of changes
	w.Ready("the first state is in force")
	var telling sync.WaitGroup
	defer telling.Wait()
	telling.Go(func() { p.tell(ctx, w, first) })
	var since time.Time // when it became STALE; zero while it is not
	for {
		f := s.Freshness()
		if f.AsOf.IsZero() { // in force, and the source has still to say of when it is
			f.AsOf = began
		}
		since = p.judge(w, &f, since)
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// interval is how often the age is looked at.
func (p *Provider) interval() time.Duration {
	if p.staleAfter < 0 {
		return time.Hour
	}
	shortest := p.staleAfter
	if p.grace > 0 {
		shortest = min(shortest, p.grace)
	}
	return min(max(shortest/10, time.Millisecond), time.Second)
}

// judge tells whether what is in force is old, and has been for too long. It returns since when.
func (p *Provider) judge(w *sdk.Work, f *tiergate.Freshness, since time.Time) time.Time {
	now := time.Now()
	old := p.staleAfter > 0 && f.Age(now) > p.staleAfter
	p.stale.Store(old)
	if !old {
		w.Ready("what is decided is up to date again")
		return time.Time{}
	}
	if since.IsZero() {
		since = now
	}
	if p.grace > 0 && now.Sub(since) >= p.grace {
		w.Lost(fmt.Errorf("what is decided is %s: %w", ageText(f, now), p.whyOld(f)))
	} else {
		w.Stale(fmt.Errorf("what is decided may be old: %w", p.whyOld(f)))
	}
	return since
}

// ageText is how old what is in force is. A state on disk may not say.
func ageText(f *tiergate.Freshness, now time.Time) string {
	if f.AsOf.Unix() <= 1 {
		return "of unknown age"
	}
	return f.Age(now).Round(time.Second).String() + " old"
}

func (p *Provider) whyOld(f *tiergate.Freshness) error {
	if f.Refused != "" {
		return errors.New(f.Refused)
	}
	if err := p.source.lost.Load(); err != nil {
		return *err
	}
	return fmt.Errorf("nothing was heard of the source for %v", p.staleAfter)
}

// tell tells what each change of the configuration may change for the callers.
func (p *Provider) tell(ctx context.Context, w *sdk.Work, at tiergate.Resume) {
	for {
		d, more := p.engine.Since(at, tiergate.Audience{Set: p.set, Everyone: true})
		if d.Any() {
			w.Changed(changeOf(&d))
		}
		at = d.To
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
		select { // so that what changes at once is told at once
		case <-time.After(follows):
		case <-ctx.Done():
			return
		}
	}
}

func changeOf(d *tiergate.Difference) sdk.Change {
	c := sdk.Change{All: d.All, Subjects: d.Subject, Revision: d.To.Revision()}
	for _, f := range d.Flags {
		c.Flags = append(c.Flags, f.Name)
	}
	return c
}

// A watched source remembers why what is in force may be old.
type watched struct {
	source tiergate.Source
	lost   atomic.Pointer[error] // nil since the source was heard last
	report func(error)
}

// Follow is the source's.
func (w *watched) Follow(ctx context.Context, from tiergate.Resume, f tiergate.Follower) error {
	err := w.source.Follow(ctx, from, hearing{f, w})
	if err != nil && ctx.Err() == nil {
		w.fail(err)
	}
	return err
}

func (w *watched) fail(why error) {
	w.lost.Store(&why)
	w.report(why)
}

// hearing is a follower that forgets what the source has got over.
type hearing struct {
	tiergate.Follower
	source *watched
}

// Confirm is the follower's.
func (h hearing) Confirm(asOf time.Time) {
	h.source.lost.Store(nil)
	h.Follower.Confirm(asOf)
}
