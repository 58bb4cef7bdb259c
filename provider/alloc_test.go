//go:build !race

// The race detector makes pools forget at random, so that nothing can be said about allocations.

package provider_test

import (
	"testing"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/provider"
)

// The answer about a flag is put together without allocating more than the caller's own copy of its
// metadata, which are two pieces.
func TestInProcess_allocates_the_metadata_only(t *testing.T) {
	p := provider.InProcess(fixed(conformance.Demo()), provider.Options{})
	client(t, p)
	flat := openfeature.FlattenedContext{"targetingKey": "alice", "teamId": "acme", "plan": "pro", "age": 33, "score": 0.5}
	for _, flag := range []string{"new-dashboard", "api-access", "white-label", "beta-search", "legacy-export"} {
		n := testing.AllocsPerRun(200, func() { p.BooleanEvaluation(t.Context(), flag, true, flat) })
		if n > 2 {
			t.Errorf("%s allocates %v times", flag, n)
		}
	}
}
