package flagsync_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
	syncv1 "github.com/tiergate/tiergate/internal/wire/flagd/sync/v1"
	"github.com/tiergate/tiergate/server/flagdapi/flagsync"
	"github.com/tiergate/tiergate/server/rpc"
)

// Definitions are those of the set that every door chooses, by a selector in the metadata or in
// the request.
func TestConformance_of_flag_sets(t *testing.T) {
	e := evaluator.New(evaluator.Options{})
	apply(t, e, 1, conformance.Sets()...)
	service := flagsync.New(flagsync.Config{Exporter: e}).Impl.(syncv1.FlagSyncServiceServer)
	for _, inBody := range []bool{false, true} {
		conformance.RunSets(t, conformance.SetDoor{Selectors: true, Bulk: true}, func(t *testing.T, c conformance.SetCase) conformance.SetAnswer {
			ctx, req := t.Context(), new(syncv1.FetchAllFlagsRequest)
			if s := c.Select(); inBody {
				req.Selector = s
			} else if s != "" {
				ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("flagd-selector", s))
			}
			if key := c.Key(); key != nil {
				ctx = rpc.WithKey(ctx, key)
			}
			got, err := service.FetchAllFlags(ctx, req)
			switch status.Code(rpc.StatusOf(err)) { // as the listener does
			case codes.OK:
			case codes.InvalidArgument:
				return conformance.SetAnswer{Refused: tiergate.Invalid}
			case codes.PermissionDenied:
				return conformance.SetAnswer{Refused: tiergate.Forbidden}
			default:
				t.Fatal(err)
			}
			var doc struct {
				Flags map[string]struct{ DefaultVariant string }
			}
			if err := json.Unmarshal([]byte(got.FlagConfiguration), &doc); err != nil {
				t.Fatal(err)
			}
			a := conformance.SetAnswer{All: slices.Sorted(maps.Keys(doc.Flags))}
			if flag, ok := doc.Flags[c.Flag]; ok {
				a.Variant = flag.DefaultVariant
			} else {
				a.ErrorCode = string(tiergate.FlagNotFound)
			}
			return a
		})
	}
}
