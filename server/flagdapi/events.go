package flagdapi

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/rpc"
)

// flagd's words for what happened.
const (
	providerReady       = "provider_ready"
	keepAlive           = "keep_alive"
	configurationChange = "configuration_change"
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
func (s *service) follow(ctx context.Context, send func(kind string, data *structpb.Struct) error) error {
	f, err := s.follower(ctx, send)
	if err != nil {
		return rpc.StatusOf(err)
	}
	defer f.stop()
	for {
		select {
		case <-f.more:
			err = f.changed()
		case <-f.later.C:
			err = f.tellSubjects()
		case <-f.silent.C:
			err = f.quiet()
		case <-f.expired:
			f.expires.Reset(time.Second) // in case that its clock is a little behind
			err = rpc.Recheck(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// A follower is one stream and what its client has been told.
type follower struct {
	ctx   context.Context
	known *known
	send  func(kind string, data *structpb.Struct) error
	sets  []string // whose changes are told; nil means those that callers ask about

	from  tiergate.Resume // what was told; zero before the first state
	more  <-chan struct{}
	ready bool // the client was told that the provider is

	silent  *time.Timer
	later   *time.Timer // until the subjects may be told; stopped when there is nothing to tell
	told    time.Time   // when the subjects were told
	expired <-chan time.Time
	expires *time.Timer // nil when the key does not expire
}

func (s *service) follower(ctx context.Context, send func(string, *structpb.Struct) error) (*follower, error) {
	f := &follower{ctx: ctx, known: &s.known, send: send}
	key := rpc.KeyOf(ctx)
	named, err := server.Selected(rpc.Sent(ctx, "flagd-selector"))
	if err != nil {
		return nil, err
	}
	switch {
	case named != "":
		if named, err = server.SetFor(named, key); err != nil {
			return nil, err
		}
		f.sets = []string{named}
	case key != nil && len(key.Sets) > 0:
		f.sets = key.Sets
	}
	// A client that selects a set for its questions may select none for its events.
	if f.more, err = f.begin(); err != nil {
		return nil, err
	}
	f.silent, f.later = time.NewTimer(silence), time.NewTimer(0)
	f.later.Stop()
	if key != nil && !key.ExpiresAt.IsZero() {
		f.expires = time.NewTimer(time.Until(key.ExpiresAt))
		f.expired = f.expires.C
	}
	return f, nil
}

func (f *follower) stop() {
	f.silent.Stop()
	f.later.Stop()
	if f.expires != nil {
		f.expires.Stop()
	}
}

// begin takes the state in force for what the client knows, if there is one.
func (f *follower) begin() (more <-chan struct{}, err error) {
	f.from, more = f.known.begin(f.sets)
	if f.from == (tiergate.Resume{}) {
		return more, nil
	}
	f.ready = true
	return more, f.send(providerReady, nil)
}

// changed tells what is different since the client was told last.
func (f *follower) changed() (err error) {
	if !f.ready {
		f.more, err = f.begin()
		return err
	}
	d := f.known.since(f.from, f.sets)
	f.from, f.more = d.to, d.more
	if d.keys {
		if err := rpc.Recheck(f.ctx); err != nil {
			return err
		}
	}
	switch {
	case d.many:
		return errManyChanged
	case d.flags != nil:
		f.later.Stop()
		f.told = time.Now()
		return f.tell(configurationChange, d.flags)
	case d.subjects:
		if wait := subjectsEvery - time.Since(f.told); wait > 0 {
			f.later.Reset(wait)
			return nil
		}
		return f.tellSubjects()
	}
	return nil
}

// tellSubjects tells that something about users or teams is different. It names no flag: what
// clients keep depends on neither.
func (f *follower) tellSubjects() error {
	f.told = time.Now()
	return f.tell(configurationChange, noFlags)
}

func (f *follower) quiet() error {
	if err := rpc.Recheck(f.ctx); err != nil {
		return err
	}
	return f.tell(keepAlive, nil)
}

func (f *follower) tell(kind string, data *structpb.Struct) error {
	f.silent.Reset(silence)
	return f.send(kind, data)
}
