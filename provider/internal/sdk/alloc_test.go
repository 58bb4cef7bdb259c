//go:build !race

// The race detector makes pools forget at random, so that nothing can be said about allocations.

package sdk_test

import (
	"testing"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate/provider/internal/sdk"
)

// Reading a usual context again and again allocates nothing.
func TestContext_Read_allocations(t *testing.T) {
	flat := openfeature.FlattenedContext{
		"targetingKey": "alice", "teamId": "acme", "age": 33, "score": 0.75, "beta": true, "tags": []string{"a", "b"},
		"device": map[string]any{"os": "linux", "cores": 8},
	}
	n := testing.AllocsPerRun(200, func() {
		c := sdk.NewContext()
		if err := c.Read(flat); err != nil {
			t.Fatal(err)
		}
		c.Release()
	})
	if n > 0 {
		t.Errorf("Read allocates %v times", n)
	}
}
