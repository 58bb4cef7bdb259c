package flagsync

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tiergate/tiergate"
	syncv1 "github.com/tiergate/tiergate/internal/wire/flagd/sync/v1"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/rpc"
)

const (
	// pause is the least time between two documents on one stream: what changes meanwhile
	// comes with the second.
	pause = 100 * time.Millisecond
	// lookAgain is when a document that is incomplete is made anew.
	lookAgain = time.Second
	// recheck is how often a key is looked at although nothing changes.
	recheck = 20 * time.Second
)

// Config says what the service hands out. Only Exporter is needed.
type Config struct {
	Exporter tiergate.Exporter
	// Credential finds a caller's API key; nil means that callers need none.
	Credential server.Resolver
}

// New returns the service.
func New(cfg Config) rpc.Service {
	return rpc.Service{
		Desc: &syncv1.FlagSyncService_ServiceDesc, Impl: &service{exporter: cfg.Exporter}, Door: "sync",
		Credential: cfg.Credential,
	}
}

type service struct {
	syncv1.UnimplementedFlagSyncServiceServer
	exporter tiergate.Exporter
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

// GetMetadata returns nothing: what flagd tells here, and in sync_context, clients put over
// the contexts of their callers, and there is nothing that we know better.
func (s *service) GetMetadata(context.Context, *syncv1.GetMetadataRequest) (*syncv1.GetMetadataResponse, error) {
	return &syncv1.GetMetadataResponse{Metadata: &structpb.Struct{}}, nil
}

// SyncFlags sends the definitions of a set at once, or when the first state comes into force,
// and again whenever they change, until the caller may not have them any more.
func (s *service) SyncFlags(req *syncv1.SyncFlagsRequest, to grpc.ServerStreamingServer[syncv1.SyncFlagsResponse]) error {
	ctx := to.Context()
	set, err := setOf(ctx, req.Selector)
	if err != nil {
		return err
	}
	shared := s.followed.enter(set)
	defer s.followed.leave(set)
	var at tiergate.Resume
	var sent *tiergate.FlagDocument
	for {
		difference, more := s.exporter.Since(at, tiergate.Audience{Set: set, Everyone: true})
		at = difference.To
		if err := rpc.Recheck(ctx); err != nil {
			return err
		}
		doc, err := s.exporter.Export(set)
		switch {
		case tiergate.CodeOf(err) == tiergate.Unavailable: // nothing has been loaded yet
		case err != nil:
			return err
		case sent == nil || doc.JSON != sent.JSON:
			if err := shared.send(to, doc); err != nil {
				return err
			}
			if sent = doc; !wait(ctx, nil, pause) {
				return ctx.Err()
			}
		}
		if !wait(ctx, more, until(rpc.KeyOf(ctx), doc)) {
			return ctx.Err()
		}
	}
}

// until is how long a follower may wait although nothing changes, 0 for ever.
func until(key *tiergate.Key, doc *tiergate.FlagDocument) time.Duration {
	if doc != nil && doc.Incomplete {
		return lookAgain
	}
	switch {
	case key == nil:
		return 0
	case key.ExpiresAt.IsZero():
		return recheck
	}
	return min(max(time.Until(key.ExpiresAt), lookAgain/10), recheck)
}

// wait waits for the first of a change and the end of a time, 0 for none, and reports whether
// the call still goes on.
func wait(ctx context.Context, more <-chan struct{}, within time.Duration) bool {
	var over <-chan time.Time
	if within > 0 {
		over = time.After(within)
	}
	select {
	case <-ctx.Done():
	case <-more:
	case <-over:
	}
	return ctx.Err() == nil
}
