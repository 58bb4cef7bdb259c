package flagsync

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/backoff"
	syncv1 "github.com/tiergate/tiergate/internal/wire/flagd/sync/v1"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/rpc"
)

const (
	// pause is the least time between two looks at what there is, and so between two documents
	// on one stream: what changes meanwhile comes with the second.
	pause = 100 * time.Millisecond
	// lookAgain is when a document that is incomplete is made anew.
	lookAgain = time.Second
)

// Config says what the service hands out. Only Exporter is needed.
type Config struct {
	Exporter tiergate.Exporter
	// Credential finds a caller's API key; nil means that callers need none.
	Credential server.Resolver
	// AsOf is the moment up to which the definitions are what the source has; nil says nothing.
	AsOf func() time.Time
}

// New returns the service.
func New(cfg Config) rpc.Service {
	return rpc.Service{
		Desc: &syncv1.FlagSyncService_ServiceDesc, Impl: &service{exporter: cfg.Exporter, asOf: cfg.AsOf}, Door: "sync",
		Credential: cfg.Credential,
	}
}

type service struct {
	syncv1.UnimplementedFlagSyncServiceServer
	exporter tiergate.Exporter
	asOf     func() time.Time
	followed followed
}

// setOf returns the flag set that a caller asks for: the metadata's selector goes before the
// request's.
func setOf(ctx context.Context, selector string) (string, error) {
	if sent := rpc.Sent(ctx, "flagd-selector"); sent != "" {
		selector = sent
	}
	named, err := server.Selected(selector)
	if err != nil {
		return "", err
	}
	return server.SetFor(named, rpc.KeyOf(ctx))
}

// FetchAllFlags returns the definitions of a set.
func (s *service) FetchAllFlags(ctx context.Context, req *syncv1.FetchAllFlagsRequest) (*syncv1.FetchAllFlagsResponse, error) {
	set, err := setOf(ctx, req.Selector)
	if err != nil {
		return nil, err
	}
	doc, err := s.exporter.Export(set)
	if err != nil {
		return nil, err
	}
	return &syncv1.FetchAllFlagsResponse{FlagConfiguration: doc.JSON}, nil
}

// ageHeader tells how old what we serve is, in milliseconds, to those who ask whether we are there.
const ageHeader = "tiergate-age-ms"

// GetMetadata returns nothing: what flagd tells here, and in sync_context, clients put over
// the contexts of their callers, and there is nothing that we know better. How old the definitions
// are is in the header.
func (s *service) GetMetadata(ctx context.Context, _ *syncv1.GetMetadataRequest) (*syncv1.GetMetadataResponse, error) {
	if s.asOf != nil {
		if asOf := s.asOf(); !asOf.IsZero() {
			age := max(0, time.Since(asOf).Milliseconds())
			_ = grpc.SetHeader(ctx, metadata.Pairs(ageHeader, strconv.FormatInt(age, 10))) // fails after the answer only
		}
	}
	return &syncv1.GetMetadataResponse{Metadata: &structpb.Struct{}}, nil
}

// SyncFlags sends the definitions of a set at once, or when the first state comes into force,
// and again whenever they change, until the caller may not have them any more.
func (s *service) SyncFlags(req *syncv1.SyncFlagsRequest, to grpc.ServerStreamingServer[syncv1.SyncFlagsResponse]) error {
	set, err := setOf(to.Context(), req.Selector)
	if err != nil {
		return err
	}
	f := &follower{service: s, ctx: to.Context(), to: to, set: set, shared: s.followed.enter(set)}
	defer s.followed.leave(set)
	f.plan()
	for {
		if err := f.look(); err != nil {
			return err
		}
		if err := f.wait(); err != nil {
			return err
		}
	}
}

// A follower is one stream and what its client has.
type follower struct {
	*service
	ctx    context.Context
	to     grpc.ServerStream
	set    string
	shared *followedSet

	at     tiergate.Resume        // what was looked at
	more   <-chan struct{}        // closed when there may be something else
	looked time.Time              // when
	check  time.Time              // when the key is to be looked at; zero for never
	sent   *tiergate.FlagDocument // nil before the first
}

// look sends the document if it is another than before.
func (f *follower) look() error {
	var d tiergate.Difference
	d, f.more = f.exporter.Since(f.at, tiergate.Audience{Set: f.set, Everyone: true})
	f.at, f.looked = d.To, time.Now()
	if d.Keys || !f.check.IsZero() && !f.looked.Before(f.check) {
		if err := rpc.Recheck(f.ctx); err != nil {
			return err
		}
		f.plan()
	}
	if !d.All && len(d.Flags) == 0 && (f.sent == nil || !f.sent.Incomplete) {
		return nil
	}
	doc, err := f.exporter.Export(f.set)
	switch {
	case tiergate.CodeOf(err) == tiergate.Unavailable: // nothing has been loaded yet
		return nil
	case err != nil:
		return err
	case f.sent != nil && doc.JSON == f.sent.JSON:
		f.sent = doc
		return nil
	}
	f.sent = doc
	return f.shared.send(f.to, doc)
}

// plan finds out when the key is to be looked at next.
func (f *follower) plan() {
	f.check = time.Time{}
	if in := rpc.RecheckIn(f.ctx); in > 0 {
		f.check = time.Now().Add(in)
	}
}

// wait waits until there is something to look at: then not all look at the same moment, and none
// for each of many changes.
func (f *follower) wait() error {
	within := time.Duration(0)
	if !f.check.IsZero() {
		within = max(time.Until(f.check), 1)
	}
	if f.sent != nil && f.sent.Incomplete && (within == 0 || within > lookAgain) {
		within = lookAgain
	}
	changed, err := wait(f.ctx, f.more, within)
	if changed {
		if !backoff.Sleep(f.ctx, max(time.Until(f.looked.Add(pause)), server.Spread(f.followed.count(), 0))) {
			err = f.ctx.Err()
		}
	}
	return err
}

// wait waits for the first of a change and the end of a time, 0 for none, and reports whether it
// was the change. The error is the end of the call.
func wait(ctx context.Context, more <-chan struct{}, within time.Duration) (changed bool, err error) {
	var over <-chan time.Time
	if within > 0 {
		timer := time.NewTimer(within)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-more:
		return true, nil
	case <-over:
		return false, nil
	}
}
