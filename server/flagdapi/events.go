package flagdapi

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/rpc"
)

const (
	// silence is how long a stream says nothing before it says that it is there.
	silence = 20 * time.Second
	// subjectsEvery is how often a stream tells at most that something about users or teams is
	// different. Browsers ask for all flags again each time.
	subjectsEvery = time.Second
)

// errManyChanged ends a stream instead of naming the flags that may be different: its client
// drops what it keeps, and comes back.
var errManyChanged = status.Error(codes.Unavailable, "more flags may have changed than a message can name: connect again")

// follow tells a client what happens, until its stream ends. It says that the provider is
// ready once there are flags to answer about: a browser asks for all of them then, once.
func (s *service) follow(to grpc.ServerStream) error {
	f, err := s.follower(to)
	if err != nil {
		return rpc.StatusOf(err)
	}
	defer f.stop()
	for err = f.begin(); err == nil; {
		err = f.next()
	}
	return err
}

// A follower is one stream and what its client has been told.
type follower struct {
	ctx   context.Context
	to    grpc.ServerStream
	now   func() time.Time
	known *known
	group *group // of streams of the same sets

	from  tiergate.Resume // what was told; zero before the first state
	more  <-chan struct{} // closed when there may be more to tell; nil while that waits for its turn
	ready bool            // the client was told that the provider is
	turn  time.Time       // when time alone changes answers next; zero for never
	told  time.Time       // when the subjects were told

	// Each is stopped while there is nothing to wait for.
	due     *time.Timer // until it looks at what there is more
	turning *time.Timer // until turn
	later   *time.Timer // until the subjects may be told
	silent  *time.Timer
	checks  *time.Timer // until the key is looked at
}

func (s *service) follower(to grpc.ServerStream) (*follower, error) {
	f := &follower{ctx: to.Context(), to: to, now: s.cfg.Now, known: &s.known}
	key := rpc.KeyOf(f.ctx)
	named, err := server.Selected(rpc.Sent(f.ctx, "flagd-selector"))
	if err != nil {
		return nil, err
	}
	var sets []string // a client that selects a set for its questions may select none for its events
	switch {
	case named != "":
		if named, err = server.SetFor(named, key); err != nil {
			return nil, err
		}
		sets = []string{named}
	case key != nil && len(key.Sets) > 0:
		sets = key.Sets
	}
	f.group = f.known.enter(sets)
	for _, timer := range []**time.Timer{&f.due, &f.turning, &f.later, &f.silent, &f.checks} {
		*timer = time.NewTimer(silence)
		(*timer).Stop()
	}
	f.silent.Reset(silence)
	f.check()
	return f, nil
}

func (f *follower) stop() {
	f.known.leave(f.group)
	for _, timer := range []*time.Timer{f.due, f.turning, f.later, f.silent, f.checks} {
		timer.Stop()
	}
}

// next waits for what happens next, and tells of it.
func (f *follower) next() error {
	select {
	case <-f.more:
		f.more = nil
		f.due.Reset(f.spread())
	case <-f.due.C:
		return f.look()
	case <-f.turning.C:
		if f.turned() {
			return f.tellSoon()
		}
	case <-f.later.C:
		f.turned() // which is told together
		return f.tellSubjects()
	case <-f.silent.C:
		return f.send(keepAlive)
	case <-f.checks.C:
		return f.recheck()
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
	return nil
}

// spread is how long this stream waits, so that not all tell something at the same moment.
func (f *follower) spread() time.Duration { return server.Spread(int(f.known.streams.Load()), 0) }

// begin says that the provider is ready, if it is, and what changed recently: what is different
// about subjects is not told, since no answer that was kept depends on those.
func (f *follower) begin() (err error) {
	at, more, late := f.known.begin(f.group)
	f.from, f.more = at, more
	if at == (tiergate.Resume{}) {
		return nil
	}
	f.ready = true
	f.turned()
	if err := f.send(providerReady); err != nil {
		return err
	}
	return f.name(late)
}

// look tells what is different since the client was told last.
func (f *follower) look() error {
	if !f.ready {
		return f.begin()
	}
	c, more := f.known.since(f.from, f.group)
	f.from, f.more = c.to, more
	if c.keys {
		if err := f.recheck(); err != nil {
			return err
		}
	}
	turned := f.turned()
	if c.many || c.message != nil {
		return f.name(c)
	}
	if !c.subjects && !turned {
		return nil
	}
	return f.tellSoon()
}

// name names the flags that may be different.
func (f *follower) name(c *changes) error {
	switch {
	case c.many:
		return errManyChanged
	case c.message == nil:
		return nil
	}
	f.later.Stop()
	f.told = time.Now()
	return f.send(c.message)
}

// tellSoon is tellSubjects, a second after the client was told last.
func (f *follower) tellSoon() error {
	if wait := subjectsEvery - time.Since(f.told); wait > 0 {
		f.later.Reset(wait)
		return nil
	}
	return f.tellSubjects()
}

// tellSubjects tells that something about users or teams is different, or that time alone has
// changed answers. It names no flag: what clients keep depends on none of these.
func (f *follower) tellSubjects() error {
	f.later.Stop()
	f.told = time.Now()
	return f.send(noFlags)
}

// turned reports whether time alone has changed answers, and waits for when it does next.
func (f *follower) turned() bool {
	now := f.now()
	turned := !f.turn.IsZero() && !now.Before(f.turn)
	f.turning.Stop()
	if f.turn = f.known.nextTurn(f.group, now); !f.turn.IsZero() {
		f.turning.Reset(f.turn.Sub(now) + f.spread())
	}
	return turned
}

// recheck looks at the key again.
func (f *follower) recheck() error {
	if err := rpc.Recheck(f.ctx); err != nil {
		return err
	}
	f.check()
	return nil
}

// check waits for when the key is to be looked at next.
func (f *follower) check() {
	f.checks.Stop()
	if in := rpc.RecheckIn(f.ctx); in > 0 {
		f.checks.Reset(in)
	}
}

func (f *follower) send(message *rpc.Broadcast) error {
	f.silent.Reset(silence)
	return message.Send(f.to)
}
