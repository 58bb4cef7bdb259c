package server

import (
	"context"
	"time"

	"github.com/tiergate/tiergate"
)

// A Left is what metadata of a metered flag tell: what its limit allows in all and, in an answer
// that nobody keeps, what is left of it.
type Left struct {
	tiergate.FlagLimit
	Remaining int64
	Known     bool      // Remaining is; what is left may be known elsewhere only
	ResetsAt  time.Time // in UTC, to the second; zero for never, and where it is not told
}

// A Meter asks about the limit that the metadata of an answer about one metered flag tells of,
// the first quota or else the first of all. It keeps what one check needs for the next. The
// zero Meter is ready; it is for one goroutine at a time.
type Meter struct {
	use  tiergate.Use
	room tiergate.Room
	left Left
}

// Left returns how much is left of the limit after a decision about req, as the generation
// at resume has it: nil when there is nothing to tell of, such as without a gate, after an
// error or a denial, and when another generation is in force. It is valid until the next call.
// It counts nothing and waits for nobody.
func (m *Meter) Left(gate tiergate.Gate, d *tiergate.Decision, req *tiergate.Request, resume tiergate.Resume) *Left {
	if gate == nil || d.ErrorCode != "" || d.Denied || d.Reason == tiergate.ReasonDisabled {
		return nil
	}
	m.use = tiergate.Use{Request: *req, Room: &m.room}
	v, err := gate.Check(context.Background(), &m.use)
	m.use = tiergate.Use{} // the next request must find nothing of this one
	if err != nil || v.Resume != resume || len(v.Limits) == 0 {
		return nil
	}
	m.left = leftOf(told(v.Limits), req.Now)
	return &m.left
}

// told returns the limit of some that is told of.
func told(limits []tiergate.LimitState) *tiergate.LimitState {
	for i := range limits {
		if limits[i].Kind == tiergate.Quota {
			return &limits[i]
		}
	}
	return &limits[0]
}

func leftOf(state *tiergate.LimitState, now time.Time) Left {
	left := Left{FlagLimit: tiergate.FlagLimit{Key: state.Key, Amount: state.Amount, Period: state.Period}}
	if left.Known = !state.AsOf.IsZero(); left.Known {
		left.Remaining = state.Min
	}
	if state.ResetsIn >= 0 {
		left.ResetsAt = now.Add(state.ResetsIn).UTC().Round(time.Second)
	}
	return left
}
