package flagdapi_test

import (
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/server/flagdapi"
	"github.com/tiergate/tiergate/server/flagdapi/flagdapitest"
)

// flagd's own providers, that for Node over gRPC and that for browsers over Connect, make of the
// demo data what was worked out by hand; they follow a change, and a restart of the server.
func TestConformance_through_npm_providers(t *testing.T) {
	off := flag("switch", tiergate.Boolean, "false", nil)
	e := engine(t, off)
	d := open(t, flagdapi.Config{Watcher: e})
	flagdapitest.Run(t, d.addr, conformance.Cases(),
		func() { step(t, e, flag("switch", tiergate.Boolean, "true", nil)) },
		func() {
			d.stop()
			step(t, e, off)
			openOn(t, d.addr, flagdapi.Config{Watcher: e})
		})
}
