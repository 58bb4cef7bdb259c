package quota

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tiergate/tiergate"
)

// A slowLedger takes some time for each exchange.
type slowLedger struct{ *Memory }

func (l slowLedger) Exchange(ctx context.Context, x tiergate.Exchange) (tiergate.Exchanged, error) {
	sleep(ctx, 700*time.Millisecond)
	return l.Memory.Exchange(ctx, x)
}

// A reservation needs what this process itself holds, and the ledger is slow to take it back.
// The reservation waits for it, and not longer.
func TestEngine_reserves_what_it_held_once_it_is_given_back(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ledger := &Memory{}
		e, err := Open(Options{Ledger: slowLedger{ledger}, Reservations: ledger, Gauges: ledger, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := e.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		if r := reasonOf(t, e, take(monthly(t, 100, 1))); r != tiergate.UseAllowed {
			t.Fatal(r)
		}
		began := time.Now()
		out, _, _, err := e.Reserve(t.Context(), job("job", monthly(t, 100, 99)), time.Minute, nil)
		if took := time.Since(began); err != nil || out.Reason != tiergate.UseAllowed || took > 750*time.Millisecond {
			t.Errorf("after %v: %+v, %v", took, out, err)
		}
	})
}
