//go:build !race

// The race detector makes pools forget at random, so that nothing can be said about allocations.

package ofrep_test

import (
	"testing"

	"github.com/valyala/fasthttp"
)

// An answer about one flag allocates no more than the parser's bookkeeping, two words for
// each object in the body. To tell of a stream allocates nothing.
func TestHandler_allocations(t *testing.T) {
	for path, most := range map[string]float64{flags + "/on": 2, flags: 6} {
		for _, streaming := range []bool{false, true} {
			door := doorOf100(streaming)
			var ctx fasthttp.RequestCtx
			fill(&ctx, path)
			n := testing.AllocsPerRun(200, func() {
				ctx.Response.Reset()
				door.Server().Handler(&ctx)
			})
			if ctx.Response.StatusCode() != 200 || n > most {
				t.Errorf("%s: status %d, %v allocations, want at most %v", path, ctx.Response.StatusCode(), n, most)
			}
		}
	}
}
