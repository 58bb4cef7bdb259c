package server_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

// limits is a Gate that checks to what a test says.
type limits struct {
	tiergate.Gate // is not asked to take anything
	all           []tiergate.LimitState
}

func (l limits) Check(context.Context, *tiergate.Use) (tiergate.Verdict, error) {
	return tiergate.Verdict{Limits: l.all}, nil
}

// Metadata tell of the first quota, or else of the first limit: what is left where that is known
// here, and when it is full again, in UTC and to the second that is nearest.
func TestMeter_tells_of_one_limit(t *testing.T) {
	now := time.Date(2026, 11, 29, 14, 20, 0, int(400*time.Millisecond), time.FixedZone("", 3600))
	rate := tiergate.LimitState{Key: "bursts", Kind: tiergate.Rate, Amount: 10, Min: 4, Max: 4, AsOf: now, ResetsIn: -1}
	quota := tiergate.LimitState{Key: "calls", Kind: tiergate.Quota, Period: "day", Amount: 100, Min: 7, Max: 9, AsOf: now, ResetsIn: 1200 * time.Millisecond}
	elsewhere := quota
	elsewhere.AsOf = time.Time{}
	calls := tiergate.FlagLimit{Key: "calls", Amount: 100, Period: "day"}
	resets := time.Date(2026, 11, 29, 13, 20, 2, 0, time.UTC)
	for story, tc := range map[string]struct {
		limits []tiergate.LimitState
		want   *server.Left
	}{
		"no limits":               {nil, nil},
		"a quota behind a rate":   {[]tiergate.LimitState{rate, quota}, &server.Left{FlagLimit: calls, Remaining: 7, Known: true, ResetsAt: resets}},
		"a rate alone":            {[]tiergate.LimitState{rate}, &server.Left{FlagLimit: tiergate.FlagLimit{Key: "bursts", Amount: 10}, Remaining: 4, Known: true}},
		"what is known elsewhere": {[]tiergate.LimitState{elsewhere}, &server.Left{FlagLimit: calls, ResetsAt: resets}},
	} {
		var m server.Meter
		got := m.Left(limits{all: tc.limits}, &tiergate.Decision{}, &tiergate.Request{Now: now}, tiergate.Resume{})
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", story, diff)
		}
	}
}
