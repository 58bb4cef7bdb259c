package provider_test

import (
	"sync"
	"testing"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/multi"

	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/provider"
)

// The SDK's multi-provider writes into the metadata that it is given: of what one evaluation is told
// no other sees anything, however many there are at a time.
func TestInProcess_within_a_multi_provider(t *testing.T) {
	p := provider.InProcess(fixed(conformance.Demo()), provider.Options{})
	all, err := multi.NewProvider(multi.StrategyFirstMatch, multi.WithProvider("ours", p))
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, all)
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for range 200 {
				if d := boolOf(t, c, "new-dashboard"); !d.Value || d.FlagMetadata[multi.MetadataProviderName] != "ours" {
					t.Errorf("%+v", d)
					return
				}
			}
		})
	}
	asking.Wait()
	d := p.BooleanEvaluation(t.Context(), "new-dashboard", false, openfeature.FlattenedContext{"targetingKey": "alice"})
	if name, seen := d.FlagMetadata[multi.MetadataProviderName]; !d.Value || seen {
		t.Errorf("what was written elsewhere is seen here: %v in %+v", name, d)
	}
}
