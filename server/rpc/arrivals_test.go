//go:build !race

// The race detector of Go 1.26 ends itself now and then where so many goroutines are in one
// bubble of synctest: https://go.dev/issue/78156.

package rpc_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/rpc"
)

// There is a bound to the requests that are arriving at once over HTTP/2: those beyond are
// refused, until others have come to an end.
func TestServer_bounds_the_requests_that_arrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := inMemory(t, time.Second, rpc.Config{}, (&echo{}).service())
		var conn *grpc.ClientConn
		for i := range server.DefaultMaxConns {
			if i%1000 == 0 { // of which a connection has no more
				conn = p.client(t)
			}
			if _, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, resolve); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := ask(t.Context(), t, p.client(t), "x"); got.code != codes.ResourceExhausted {
			t.Errorf("one more comes to %+v", got)
		}
		if got := p.post(t, resolve, "{}"); got != http.StatusOK {
			t.Errorf("over Connect: %d", got)
		}
		if _, err := healthpb.NewHealthClient(p.client(t)).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Errorf("the health service, which has room of its own: %v", err)
		}
		time.Sleep(server.Timeouts.Request)
		synctest.Wait()
		if got := ask(t.Context(), t, p.client(t), "x"); got.value != "x" {
			t.Errorf("later: %+v", got)
		}
	})
}
