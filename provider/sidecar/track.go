package sidecar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/provider/internal/sdk"
)

const (
	maxTrackBody = 900_000         // bytes of a batch: a sidecar reads a million
	trackTime    = 5 * time.Second // for one message; each is on disk before it is answered
)

// track records tracked events with the decision API, in as few messages as there is room for.
func (d *door) track(ctx context.Context, batch []sdk.Tracked) ([]error, error) {
	errs := make([]error, len(batch))
	var body bytes.Buffer
	var at []int // the places in batch of the events in body
	send := func() error {
		if len(at) == 0 {
			return nil
		}
		body.WriteString(`]}`)
		err := d.trackSome(ctx, body.Bytes(), at, errs)
		at = at[:0]
		return err
	}
	for i := range batch {
		item, err := json.Marshal(&batch[i])
		if err != nil || len(item) > maxTrackBody {
			errs[i] = errors.Join(err, errors.New("the event is too large"))
			continue
		}
		if len(at) > 0 && body.Len()+len(item) > maxTrackBody {
			if err := send(); err != nil {
				return nil, err
			}
		}
		if len(at) == 0 {
			body.Reset()
			body.WriteString(`{"items":[`)
		} else {
			body.WriteByte(',')
		}
		body.Write(item)
		at = append(at, i)
	}
	return errs, send()
}

// trackSome records the events at some places of a batch, and says there what became of each.
// An error means that all have to come again, or that none ever will be recorded.
func (d *door) trackSome(ctx context.Context, body []byte, at []int, errs []error) error {
	ctx, cancel := context.WithTimeout(ctx, trackTime)
	defer cancel()
	got, err := d.post(ctx, d.base.JoinPath(trackPath), "", body, maxBulk)
	switch {
	case errors.Is(err, errAway):
		return fmt.Errorf("%w: %w", sdk.ErrAway, err)
	case err != nil:
		return err
	}
	var answer struct {
		Items []struct {
			Allow  bool   `json:"allow"`
			Reason string `json:"reason"`
			Error  *struct {
				Code   tiergate.Code `json:"code"`
				Detail string        `json:"detail"`
			} `json:"error"`
		} `json:"items"`
	}
	if got.status != http.StatusOK || json.Unmarshal(got.text, &answer) != nil || len(answer.Items) != len(at) {
		return refusalOf(got.status)
	}
	for n, item := range answer.Items {
		switch e := item.Error; {
		case e != nil && (e.Code == tiergate.Unavailable || e.Code == tiergate.Conflict), item.Reason == string(tiergate.UseUnavailable):
			return fmt.Errorf("%w: not all was recorded", sdk.ErrAway) // those that were answer again as they did
		case e != nil:
			errs[at[n]] = errors.New(e.Detail)
		case !item.Allow:
			errs[at[n]] = fmt.Errorf("it is not recorded: %s", item.Reason)
		}
	}
	return nil
}
