package provider

import (
	"cmp"
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/provider/internal/sdk"
	"github.com/tiergate/tiergate/provider/sidecar"
)

const (
	// DefaultStaleAfter is the age of the data from which a provider in process is STALE, the
	// same from which a sidecar is not ready.
	DefaultStaleAfter = 15 * time.Second
	// DefaultGracePeriod is how long a provider is STALE before it is in ERROR.
	DefaultGracePeriod = sidecar.DefaultGracePeriod
)

// Options say how a provider decides in process. The zero value is the usual.
type Options struct {
	// Set is the flag set; "" is that of a SyncStream, else tiergate.DefaultSet. A SyncStream
	// has one set only: another one here is FATAL.
	Set string
	// Name names the source in logs, such as "postgres"; "" is "source".
	Name string
	// Dir is where the last-known-good state is kept, from which the program starts while its
	// source is away; "" keeps none. One process uses it at a time. KeyFile holds the key that
	// authenticates it, 32 bytes or more; "" is a random one in Dir.
	Dir, KeyFile string
	// StaleAfter is the age of the data from which the provider is STALE. It goes on deciding.
	// 0 is DefaultStaleAfter; negative is never. A source must be heard more often: a folder is
	// each ten seconds (FileOptions.Rescan), a Postgres each second, and a SyncStream is asked
	// thrice in that time, but at most ten times a second.
	StaleAfter time.Duration
	// GracePeriod is how long the provider is STALE before it is in ERROR. Unlike one that asks a
	// sidecar it goes on deciding from what it has, marked as stale, and is READY as soon as the
	// source is heard again. 0 is DefaultGracePeriod; negative is never.
	GracePeriod time.Duration
	// InitTimeout bounds an initialization whose context has no deadline; 0 is ten seconds.
	InitTimeout time.Duration
	// TrustContextTier lets the "tier" of an evaluation context stand for the user's own, as
	// --trust-context-tier does for a sidecar; the flags of a SyncStream always read it.
	TrustContextTier bool
	// Engine decides; nil is one of the provider's own. Give one to share it, with a Gate for
	// example. It must have no other source, and brings its own TrustContextTier.
	Engine *evaluator.Engine

	// Gate records what is tracked, in the background; nil records nothing, and says so.
	Gate tiergate.Gate
	// TrackQueue is how many tracked events wait at most, of 64 MiB in all; 0 is 10,000.
	// TrackLost is told of those that were not recorded and never will be, and why; nil tells
	// nobody.
	TrackQueue int
	TrackLost  func(events int, why error)

	Log *slog.Logger // nil discards
}

// life is Init, Shutdown and the events.
type life = sdk.Life

// A Provider decides in process. It implements every optional interface of the SDK, and is safe
// for concurrent use.
type Provider struct {
	*life
	tracker    *sdk.Tracker
	set        string
	staleAfter time.Duration
	grace      time.Duration
	options    Options
	source     *watched
	stream     *Stream // the source, if it is one
	engine     *evaluator.Engine
	shelf      atomic.Pointer[shelf]
	stale      atomic.Bool
}

var (
	_ openfeature.FeatureProvider          = (*Provider)(nil)
	_ openfeature.ContextAwareStateHandler = (*Provider)(nil)
	_ openfeature.EventHandler             = (*Provider)(nil)
	_ openfeature.Tracker                  = (*Provider)(nil)
)

// InProcess makes a provider that decides by itself from what source holds. Nothing is read
// before the SDK initializes it.
func InProcess(source tiergate.Source, o Options) *Provider {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &Provider{
		set: o.Set, staleAfter: cmp.Or(o.StaleAfter, DefaultStaleAfter), grace: cmp.Or(o.GracePeriod, DefaultGracePeriod),
		options: o, source: &watched{source: source}, engine: o.Engine,
	}
	if s, ok := source.(*Stream); ok {
		p.stream, p.set = s, cmp.Or(p.set, s.set)
		s.every = probesFor(p.staleAfter)
		s.opts.Log = cmp.Or(s.opts.Log, o.Log)
		p.options.Name = cmp.Or(o.Name, "sync stream")
		o.TrustContextTier = true
	}
	p.set = cmp.Or(p.set, tiergate.DefaultSet)
	if p.engine == nil {
		p.engine = evaluator.New(evaluator.Options{Log: o.Log, TrustContextTier: o.TrustContextTier})
	}
	p.tracker = sdk.NewTracker(p.trackConfig())
	p.life = sdk.NewLife("tiergate", o.InitTimeout, p.work)
	return p
}

// BooleanEvaluation answers about a boolean flag.
func (p *Provider) BooleanEvaluation(_ context.Context, flag string, standard bool, flat openfeature.FlattenedContext) openfeature.BoolResolutionDetail {
	return sdk.Bool(p.decide(flag, flat), standard)
}

// StringEvaluation answers about a string flag.
func (p *Provider) StringEvaluation(_ context.Context, flag, standard string, flat openfeature.FlattenedContext) openfeature.StringResolutionDetail {
	return sdk.String(p.decide(flag, flat), standard)
}

// FloatEvaluation answers about a number flag, whole or not.
func (p *Provider) FloatEvaluation(_ context.Context, flag string, standard float64, flat openfeature.FlattenedContext) openfeature.FloatResolutionDetail {
	return sdk.Float(p.decide(flag, flat), standard)
}

// IntEvaluation answers about a number flag whose value is whole, however it is written; a
// fraction is a TYPE_MISMATCH.
func (p *Provider) IntEvaluation(_ context.Context, flag string, standard int64, flat openfeature.FlattenedContext) openfeature.IntResolutionDetail {
	return sdk.Int(p.decide(flag, flat), standard)
}

// ObjectEvaluation answers about an object flag with a map[string]any of the caller's own.
func (p *Provider) ObjectEvaluation(_ context.Context, flag string, standard any, flat openfeature.FlattenedContext) openfeature.InterfaceResolutionDetail {
	return sdk.Object(p.decide(flag, flat), standard)
}

// Track records a use, named by the event, of the context's user and team, in the background.
// A whole value from 1 on is how many units; the event's attributes are kept with the usage.
func (p *Provider) Track(ctx context.Context, event string, c openfeature.EvaluationContext, details openfeature.TrackingEventDetails) {
	p.tracker.Track(ctx, event, c, details)
}

// LostEvents is how many tracked events were not recorded and never will be.
func (p *Provider) LostEvents() uint64 { return p.tracker.LostEvents() }

// noTime is the time where nobody looks at it: to read the clock takes as long as to find a flag.
var noTime = time.Unix(0, 0)

// decide answers from the generation in force.
func (p *Provider) decide(flag string, flat openfeature.FlattenedContext) sdk.Outcome {
	g, shelf := p.inForce()
	if g == nil {
		return sdk.Failed(tiergate.ProviderNotReady, "the flags have not been loaded yet")
	}
	c := sdk.NewContext()
	defer c.Release()
	if err := c.Read(flat); err != nil {
		return sdk.Failed(tiergate.InvalidContext, err.Error())
	}
	req := tiergate.Request{Set: p.set, Flag: flag, UserID: c.UserID, TeamID: c.TeamID, Attributes: c.Attributes}
	if req.Now = noTime; !shelf.timeless {
		req.Now = time.Now()
	}
	d := g.Decide(&req)
	var o sdk.Outcome
	o.Value, o.Variant, o.Reason = d.Value, d.Variant, openfeature.Reason(d.Reason)
	if d.ErrorCode != "" {
		o.Fail(d.ErrorCode, d.ErrorDetails)
	}
	o.FlagMetadata = shelf.metadataOf(&d)
	return o
}
