package provider

import (
	"context"
	"fmt"
	"sync"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/provider/internal/sdk"
)

// together is how many events are recorded at the same time: they wait for the disk once.
const together = 32

func (p *Provider) trackConfig() sdk.TrackConfig {
	o := &p.options
	cfg := sdk.TrackConfig{Set: p.set, Queue: o.TrackQueue, Lost: o.TrackLost, Log: o.Log}
	if o.Gate != nil {
		cfg.Record = p.record
	}
	return cfg
}

// record records events through the gate. Once ctx has ended, what has failed may have failed for
// that alone, and is to come again: at the shutdown there is still time.
func (p *Provider) record(ctx context.Context, batch []sdk.Tracked) ([]error, error) {
	errs := make([]error, len(batch))
	slots := make(chan struct{}, together)
	var all sync.WaitGroup
	for i := range batch {
		slots <- struct{}{}
		all.Go(func() {
			errs[i] = p.recordOne(ctx, &batch[i])
			<-slots
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil && (ctx.Err() != nil || tiergate.CodeOf(err) == tiergate.Unavailable) {
			errs[i] = fmt.Errorf("%w: %w", sdk.ErrAway, err)
		}
	}
	return errs, nil
}

func (p *Provider) recordOne(ctx context.Context, e *sdk.Tracked) error {
	var attributes tiergate.Value
	if e.Attributes != nil {
		var err error
		if attributes, err = jsonvalue.Parse(e.Attributes); err != nil {
			return err
		}
	}
	v, err := p.options.Gate.Track(ctx, &tiergate.Use{
		Request: tiergate.Request{Set: e.Set, Flag: e.Feature, UserID: e.Subject.User, TeamID: e.Subject.Team, Attributes: attributes},
		Cost:    e.Cost, IdempotencyKey: e.IdempotencyKey, Fingerprint: e.IdempotencyKey, At: e.At, Metadata: e.Metadata,
	})
	switch {
	case err != nil:
		return err
	case v.Reason == tiergate.UseUnavailable:
		return tiergate.Errorf(tiergate.Unavailable, "%s", v.Message)
	case !v.Allow:
		return fmt.Errorf("it is not recorded: %s", v.Reason)
	}
	return nil
}
