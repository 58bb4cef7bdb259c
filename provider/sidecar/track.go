package sidecar

import (
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

// A parcel is an event on its way, and where it is said why it is not recorded and never will be.
type parcel struct {
	text []byte
	why  *error
}

// track records tracked events with the decision API, in as few messages as there is room for. An
// error means that all have to come again: those that were recorded answer as they did.
func (d *door) track(ctx context.Context, batch []sdk.Tracked) ([]error, error) {
	errs := make([]error, len(batch))
	var load []parcel
	size := 0
	for i := range batch {
		text, err := json.Marshal(&batch[i])
		switch {
		case err != nil:
			errs[i] = err
			continue
		case len(text) > maxTrackBody:
			errs[i] = errors.New("the event is too large")
			continue
		}
		if size+len(text) > maxTrackBody {
			if err := d.deliver(ctx, load); err != nil {
				return nil, err
			}
			load, size = load[:0], 0
		}
		load, size = append(load, parcel{text, &errs[i]}), size+len(text)
	}
	if err := d.deliver(ctx, load); err != nil {
		return nil, err
	}
	return errs, nil
}

// deliver records events with one message. One that is refused as a whole is sent by halves, so
// that an event that nobody can read costs no other; each keeps its idempotency key. An error
// means that all have to come again.
func (d *door) deliver(ctx context.Context, load []parcel) error {
	if len(load) == 0 {
		return nil
	}
	got, err := d.postTracked(ctx, load)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", sdk.ErrAway, err)
	case got.status == http.StatusOK:
		return take(got, load)
	case got.status == http.StatusRequestTimeout || got.status >= http.StatusInternalServerError:
		return fmt.Errorf("%w: %w", sdk.ErrAway, problemOf(got))
	case len(load) > 1 && unreadable(got.status):
		half := len(load) / 2
		if err := d.deliver(ctx, load[:half]); err != nil {
			return err
		}
		return d.deliver(ctx, load[half:])
	}
	why := problemOf(got)
	if errors.Is(why, errAway) && !unreadable(got.status) {
		return fmt.Errorf("%w: %w", sdk.ErrAway, why)
	}
	refuse(load, why)
	return nil
}

// unreadable reports whether a message was refused for what is in it, which it will be again,
// whoever refuses it.
func unreadable(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge
}

func (d *door) postTracked(ctx context.Context, load []parcel) (*letter, error) {
	ctx, cancel := context.WithTimeout(ctx, trackTime)
	defer cancel()
	body := []byte(`{"items":[`)
	for i, p := range load {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, p.text...)
	}
	return d.post(ctx, d.base.JoinPath(trackPath), nil, append(body, "]}"...), maxBulk)
}

// problemOf is why a message was refused, in the words of the sidecar if they are its.
func problemOf(got *letter) error {
	var problem struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(got.text, &problem) != nil || problem.Detail == "" {
		return refusalOf(got.status)
	}
	return fmt.Errorf("the sidecar refuses it: %.300s (status %d)", problem.Detail, got.status)
}

// refuse says of each event that it will never be recorded, and why.
func refuse(load []parcel, why error) {
	for _, p := range load {
		*p.why = why
	}
}

// take says what became of the events of a message that was answered: some may have to come again.
// An error means that all have to.
func take(got *letter, load []parcel) error {
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
	if json.Unmarshal(got.text, &answer) != nil || len(answer.Items) != len(load) {
		return fmt.Errorf("%w: %w", sdk.ErrAway, refusalOf(got.status))
	}
	for i, item := range answer.Items {
		switch e := item.Error; {
		case e != nil && (e.Code == tiergate.Unavailable || e.Code == tiergate.Conflict), item.Reason == string(tiergate.UseUnavailable):
			*load[i].why = fmt.Errorf("%w: it was not recorded yet", sdk.ErrAway)
		case e != nil:
			*load[i].why = errors.New(e.Detail)
		case !item.Allow:
			*load[i].why = fmt.Errorf("it is not recorded: %s", item.Reason)
		}
	}
	return nil
}
