//go:build !race

// The race detector makes pools forget at random, so that nothing can be said about allocations.

package decision_test

import (
	"testing"

	"github.com/valyala/fasthttp"
)

// An answer allocates no more than the parser's bookkeeping, two words for each object in the
// body beyond those that it keeps; also with a fingerprint and fields about limits.
func TestHandler_allocations(t *testing.T) {
	handle := decidedDoor().Handle
	for _, tc := range []struct {
		path, body string
		most       float64
	}{
		{"/v1/check", benchBody, 2},
		{"/v1/consume", benchBody, 2},
		{"/v1/consume?reflect=1", benchKey, 2},
		{"/v1/track", benchKey, 2},
		{"/v1/auth/nginx?feature=exports&user=alice&mode=consume", "", 0},
	} {
		var ctx fasthttp.RequestCtx
		fill(&ctx, tc.path, tc.body)
		n := testing.AllocsPerRun(200, func() {
			ctx.Response.Reset()
			handle(&ctx)
		})
		if s := ctx.Response.StatusCode(); s >= 300 || n > tc.most {
			t.Errorf("%s: status %d, %v allocations, want at most %v", tc.path, s, n, tc.most)
		}
	}
}
