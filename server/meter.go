package server

import (
	"context"

	"github.com/tiergate/tiergate"
)

// A Meter asks about the limit that the metadata of an answer about one metered flag tells of,
// the first quota or else the first of all. It keeps what one check needs for the next. The
// zero Meter is ready; it is for one goroutine at a time.
type Meter struct {
	use  tiergate.Use
	room tiergate.Room
}

// Left returns how much is left of the limit after a decision about req, as the generation
// at resume has it: nil when there is nothing to tell of, such as without a gate, after an
// error or a denial, and when another generation is in force. It is valid until the next call.
// It counts nothing and waits for nobody.
func (m *Meter) Left(gate tiergate.Gate, d *tiergate.Decision, req *tiergate.Request, resume tiergate.Resume) *tiergate.LimitState {
	if gate == nil || d.ErrorCode != "" || d.Denied || d.Reason == tiergate.ReasonDisabled {
		return nil
	}
	m.use = tiergate.Use{Request: *req, Room: &m.room}
	v, err := gate.Check(context.Background(), &m.use)
	m.use = tiergate.Use{} // the next request must find nothing of this one
	if err != nil || v.Resume != resume {
		return nil
	}
	for i := range v.Limits {
		if v.Limits[i].Kind == tiergate.Quota {
			return &v.Limits[i]
		}
	}
	if len(v.Limits) > 0 {
		return &v.Limits[0]
	}
	return nil
}
