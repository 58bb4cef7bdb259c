//go:build !race

// The race detector makes pools forget at random, so that nothing can be said about allocations.

package decision_test

import (
	"testing"

	"github.com/valyala/fasthttp"
)

// An answer allocates nothing, also with a fingerprint, metadata and fields about limits.
func TestHandler_allocations(t *testing.T) {
	handle := decidedDoor().Handle
	for _, tc := range []struct {
		path, body string
	}{
		{"/v1/check", benchBody},
		{"/v1/consume", benchBody},
		{"/v1/consume?reflect=1", benchKey},
		{"/v1/track", benchKey},
		{"/v1/auth/nginx?user=alice&mode=consume", ""},
	} {
		var ctx fasthttp.RequestCtx
		fill(&ctx, tc.path, tc.body)
		ctx.Request.Header.Set("Tiergate-Feature", "exports") // for the proxy's
		n := testing.AllocsPerRun(200, func() {
			ctx.Response.Reset()
			handle(&ctx)
		})
		if s := ctx.Response.StatusCode(); s >= 300 || n != 0 {
			t.Errorf("%s: status %d, %v allocations", tc.path, s, n)
		}
	}
}
