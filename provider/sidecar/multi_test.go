package sidecar_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/isolated"
	"github.com/open-feature/go-sdk/openfeature/multi"

	"github.com/tiergate/tiergate/provider/sidecar"
)

// The SDK's multi-provider writes into the metadata that it is given: of what one evaluation is told
// no other sees anything, though all are told of one answer that is kept.
func TestProvider_within_a_multi_provider(t *testing.T) {
	f := newFake(t)
	p, err := sidecar.New(f.url, sidecar.Options{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := multi.NewProvider(multi.StrategyFirstMatch, multi.WithProvider("ours", p))
	if err != nil {
		t.Fatal(err)
	}
	api := isolated.NewAPI()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if err := api.SetProviderAndWait(ctx, all); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := api.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}()
	following(t, p)
	c := api.NewClient()
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for range 200 {
				if d := ask(t, c, "x", "alice"); !d.Value || d.FlagMetadata[multi.MetadataProviderName] != "ours" {
					t.Errorf("%+v", d)
					return
				}
			}
		})
	}
	asking.Wait()
	d := p.BooleanEvaluation(t.Context(), "x", false, openfeature.FlattenedContext{"targetingKey": "alice"})
	if name, seen := d.FlagMetadata[multi.MetadataProviderName]; d.Reason != openfeature.CachedReason || seen {
		t.Errorf("what was written elsewhere is seen here: %v in %+v", name, d)
	}
}
