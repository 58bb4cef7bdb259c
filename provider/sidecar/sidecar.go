package sidecar

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/provider/internal/sdk"
)

// The defaults of Options.
const (
	DefaultTarget      = "http://127.0.0.1:8016"
	DefaultTimeout     = time.Second
	DefaultGracePeriod = time.Minute
	DefaultMaxEntries  = 10_000
	DefaultMaxBytes    = 32 << 20
)

// Options say how a provider asks. The zero value is the usual.
type Options struct {
	Set string // the flag set; "" is the sidecar's default, or the only one of the key
	Key string // an API key with the scope evaluate, and consume to track; "" sends none
	// Insecure lets Key go over http:// to another machine, in plain text: where what is between
	// encrypts by itself.
	Insecure bool
	// HTTP sends the requests; nil is one made for this provider. It must have no Timeout, which
	// would end event streams, and be nil with a target of "unix:".
	HTTP *http.Client
	// Timeout bounds one question; 0 is DefaultTimeout. The context's deadline counts too.
	Timeout time.Duration
	// InitTimeout bounds an initialization whose context has no deadline; 0 is ten seconds.
	InitTimeout time.Duration
	// GracePeriod is how long the provider goes on with old answers, STALE, while the sidecar is
	// away, before it is in ERROR. 0 is DefaultGracePeriod; negative is for ever.
	GracePeriod time.Duration

	// Bulk asks for all flags of a context at once, while they can be kept: for programs that
	// evaluate many flags for each user. Otherwise each flag is asked for alone.
	Bulk bool
	// MaxEntries and MaxBytes bound the cache, which drops what was used longest ago; 0 are the
	// defaults, and with one that is negative nothing is kept.
	MaxEntries int
	MaxBytes   int64

	// TrackQueue is how many tracked events wait at most, of 64 MiB in all; 0 is 10,000. TrackLost
	// is told of those that were not recorded and never will be, and why; nil tells nobody.
	TrackQueue int
	TrackLost  func(events int, why error)

	Log *slog.Logger // nil discards
}

// life is Init, Shutdown and the events.
type life = sdk.Life

// A Provider asks a sidecar. It implements every optional interface of the SDK, and is safe for
// concurrent use.
type Provider struct {
	*life
	tracker *sdk.Tracker
	options Options
	door    *door
	cache   *cache

	away    atomic.Bool   // the sidecar could not be asked lately …
	expired atomic.Bool   // … for so long that old answers are not used any more
	old     atomic.Bool   // it is there and says that its data are old
	doubt   chan struct{} // holds one when a question was not answered

	looksEvery time.Duration

	mu       sync.Mutex
	running  context.Context // of the work; nil before and after it
	flights  map[key]*flight
	fetching sync.WaitGroup
}

var (
	_ openfeature.FeatureProvider          = (*Provider)(nil)
	_ openfeature.ContextAwareStateHandler = (*Provider)(nil)
	_ openfeature.EventHandler             = (*Provider)(nil)
	_ openfeature.Tracker                  = (*Provider)(nil)
)

// New makes a provider that asks the sidecar at target: "http://host:port", "https://host:port"
// or "unix:/path"; "" is DefaultTarget. Errors are about target and options: it asks nothing
// before the SDK initializes it.
func New(target string, o Options) (*Provider, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.GracePeriod = cmp.Or(o.GracePeriod, DefaultGracePeriod)
	d, err := newDoor(cmp.Or(target, DefaultTarget), &o)
	if err != nil {
		return nil, err
	}
	p := &Provider{
		options: o, door: d,
		cache: newCache(cmp.Or(o.MaxEntries, DefaultMaxEntries), cmp.Or(o.MaxBytes, DefaultMaxBytes)),
		doubt: make(chan struct{}, 1), looksEvery: looksEvery, flights: map[key]*flight{},
	}
	p.tracker = sdk.NewTracker(sdk.TrackConfig{
		Record: d.track, Set: o.Set, Queue: o.TrackQueue, Lost: o.TrackLost, Log: o.Log,
	})
	p.life = sdk.NewLife("tiergate", o.InitTimeout, p.work)
	return p, nil
}

// validate refuses what can never work.
func (o *Options) validate() error {
	switch {
	case o.Timeout < 0:
		return tiergate.FieldErrorf("Timeout", "a question takes some time")
	case o.InitTimeout < 0:
		return tiergate.FieldErrorf("InitTimeout", "an initialization takes some time")
	case o.TrackQueue < 0:
		return tiergate.FieldErrorf("TrackQueue", "a queue holds something")
	case o.Set != "":
		return tiergate.ValidName("Set", o.Set)
	}
	return nil
}

// BooleanEvaluation answers about a boolean flag.
func (p *Provider) BooleanEvaluation(ctx context.Context, flag string, standard bool, flat openfeature.FlattenedContext) openfeature.BoolResolutionDetail {
	return sdk.Bool(p.resolve(ctx, flag, flat), standard)
}

// StringEvaluation answers about a string flag.
func (p *Provider) StringEvaluation(ctx context.Context, flag, standard string, flat openfeature.FlattenedContext) openfeature.StringResolutionDetail {
	return sdk.String(p.resolve(ctx, flag, flat), standard)
}

// FloatEvaluation answers about a number flag, whole or not.
func (p *Provider) FloatEvaluation(ctx context.Context, flag string, standard float64, flat openfeature.FlattenedContext) openfeature.FloatResolutionDetail {
	return sdk.Float(p.resolve(ctx, flag, flat), standard)
}

// IntEvaluation answers about a number flag whose value is whole, however it is written; a
// fraction is a TYPE_MISMATCH.
func (p *Provider) IntEvaluation(ctx context.Context, flag string, standard int64, flat openfeature.FlattenedContext) openfeature.IntResolutionDetail {
	return sdk.Int(p.resolve(ctx, flag, flat), standard)
}

// ObjectEvaluation answers about an object flag with a map[string]any of the caller's own.
func (p *Provider) ObjectEvaluation(ctx context.Context, flag string, standard any, flat openfeature.FlattenedContext) openfeature.InterfaceResolutionDetail {
	return sdk.Object(p.resolve(ctx, flag, flat), standard)
}

// Track records a use, named by the event, of the context's user and team, in the background.
// A whole value from 1 on is how many units; the event's attributes are kept with the usage.
func (p *Provider) Track(ctx context.Context, event string, c openfeature.EvaluationContext, details openfeature.TrackingEventDetails) {
	p.tracker.Track(ctx, event, c, details)
}

// LostEvents is how many tracked events were not recorded and never will be.
func (p *Provider) LostEvents() uint64 { return p.tracker.LostEvents() }
