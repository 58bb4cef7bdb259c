package ofrep_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/internal/porttest"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/ofrep"
	"github.com/tiergate/tiergate/server/ofrep/ofreptest"
)

// headline is a string flag of the default set.
func headline(text string) tiergate.Change {
	value, _ := json.Marshal(text)
	return tiergate.PutOf(&tiergate.Flag{
		ID: "f-headline", Set: "default", Name: "headline", Type: tiergate.String, Enabled: true,
		Variants: map[string]json.RawMessage{"now": value}, DefaultVariant: "now", OffVariant: "now", Rules: tiergate.Rules{Percentage: 100},
	})
}

// up serves e with streams at an address until down is called or the test ends.
func up(t *testing.T, e *evaluator.Engine, addr, secret string) (at string, down func()) {
	t.Helper()
	ln, err := listen.Listen(addr, listen.Options{Timeouts: server.Timeouts})
	if err != nil {
		t.Fatal(err)
	}
	streams := ofrep.NewStreams(ofrep.StreamConfig{Watcher: e, Secret: []byte(secret)})
	stopStreams := runStreams(t, streams)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() {
		done <- server.Serve(ctx, appOf(ofrep.Config{Evaluator: e, Streams: streams}), ln, 5*time.Second)
	}()
	down = sync.OnceFunc(func() {
		stop()
		stopStreams()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(down)
	return ln.Addr().String(), down
}

// A page of the official web provider hears of a change through the event stream, comes back by
// itself after the server was away, to the right flags, and does so also where the server has
// another key for streams: it is refused, asks for all flags, and follows their new stream.
func TestProvider_of_npm_follows_changes(t *testing.T) {
	e := engine(t, headline("first"))
	addr, down := up(t, e, porttest.Addr(t), streamSecret)
	page := ofreptest.Follow(t, "http://"+addr, "headline", "alice")
	page.Shows("first")
	put(t, e, headline("second"))
	page.Shows("second")

	down()
	put(t, e, headline("third")) // while nobody listens
	_, down = up(t, e, addr, streamSecret)
	page.Shows("third")
	put(t, e, headline("fourth"))
	page.Shows("fourth")

	down()
	put(t, e, headline("fifth"))
	up(t, e, addr, "another secret of thirty-two bytes")
	page.Shows("fifth")
	put(t, e, headline("sixth"))
	page.Shows("sixth")
}
