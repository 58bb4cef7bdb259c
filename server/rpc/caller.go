package rpc

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// A caller is who makes a call, known by a key.
type caller struct {
	key     atomic.Pointer[tiergate.Key] // as it was when it was looked at last
	text    string
	resolve server.Resolver
}

type callerKey struct{}

// WithKey returns a context of a call that was made with a key.
func WithKey(ctx context.Context, key *tiergate.Key) context.Context {
	return withCaller(ctx, &caller{}, key)
}

func withCaller(ctx context.Context, c *caller, key *tiergate.Key) context.Context {
	c.key.Store(key)
	return context.WithValue(ctx, callerKey{}, c)
}

// KeyOf returns the key that a call was made with as it was when Recheck looked last, nil when its
// service needs none.
func KeyOf(ctx context.Context) *tiergate.Key {
	if c, ok := ctx.Value(callerKey{}).(*caller); ok {
		return c.key.Load()
	}
	return nil
}

// Recheck looks again at the key that a call was made with, for those that may outlive it; KeyOf
// then returns it as it is now. The call ends with its error.
func Recheck(ctx context.Context) error {
	c, ok := ctx.Value(callerKey{}).(*caller)
	if !ok || c.resolve == nil {
		return nil
	}
	key, err := c.resolve(c.text)
	switch {
	case err != nil || key == nil:
		return server.Refusal(err)
	case !slices.Equal(key.Sets, c.key.Load().Sets):
		return errOtherSets
	}
	c.key.Store(key)
	return nil
}

const (
	// recheckEvery is how often a stream looks at its key although nothing changes.
	recheckEvery = 20 * time.Second
	// recheckSoonest is how long it waits at least: the clock of who resolves keys may be behind.
	recheckSoonest = 100 * time.Millisecond
)

// RecheckIn is how long a stream may go on before it looks at its key again: until the key
// expires, as it was when it was looked at last, and for twenty seconds at most. 0 is for ever.
func RecheckIn(ctx context.Context) time.Duration {
	key := KeyOf(ctx)
	switch {
	case key == nil:
		return 0
	case key.ExpiresAt.IsZero():
		return recheckEvery
	}
	return min(max(time.Until(key.ExpiresAt), recheckSoonest), recheckEvery)
}

var errOtherSets = tiergate.Errorf(tiergate.Unavailable, "the API key is for other flag sets now: connect again")

// admit finds out who calls. A nil resolve means that nobody needs a key.
func admit(ctx context.Context, resolve server.Resolver) (context.Context, error) {
	if resolve == nil {
		return ctx, nil
	}
	authorization, single := sent(ctx, "authorization")
	apiKey, alone := sent(ctx, "x-api-key")
	if !single || !alone {
		return nil, StatusOf(tiergate.Errorf(tiergate.Unauthorized, "more than one API key was sent"))
	}
	text, err := server.Presented(authorization, apiKey)
	if err != nil {
		return nil, StatusOf(server.Refusal(err))
	}
	key, err := resolve(text)
	if err != nil || key == nil {
		return nil, StatusOf(server.Refusal(err))
	}
	return withCaller(ctx, &caller{text: text, resolve: resolve}, key), nil
}

// Sent returns what a call's metadata say under a name in lower case, "" when nothing; when
// they say it more than once, the first.
func Sent(ctx context.Context, name string) string {
	value, _ := sent(ctx, name)
	return value
}

// sent also reports whether the name is there once at most.
func sent(ctx context.Context, name string) (value string, single bool) {
	values := metadata.ValueFromIncomingContext(ctx, name)
	if len(values) == 0 {
		return "", true
	}
	return values[0], len(values) == 1
}
