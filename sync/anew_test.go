package syncer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tiergate/tiergate"
)

// A revision that cannot go on top of what there is costs a whole state, each time it
// comes. They are asked for ever less often, to one a minute, though each is applied and
// confirmed; and soon again once a source was of use for a minute.
func TestSyncer_asks_for_whole_states_ever_less_often(t *testing.T) {
	for why, refuse := range map[string]func(tiergate.Revision) error{
		"a revision that does not follow": func(r tiergate.Revision) error {
			return tiergate.Errorf(tiergate.Conflict, "revision %s does not follow", r.Resume.Revision())
		},
		"an applier that panics": func(tiergate.Revision) error { panic("applier") },
	} {
		t.Run(why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &memory{refuse: func(r tiergate.Revision) error {
					if r.Whole {
						return nil
					}
					return refuse(r)
				}}
				const storm, calm = 14, 12 // how many times, and which one is of use for long
				src := &script{}
				var asked, ended []time.Time
				for n := range storm {
					src.calls = append(src.calls, func(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
						asked = append(asked, time.Now())
						_ = f.Apply(ctx, whole(at(1)))
						f.Confirm(time.Now())
						if n == calm {
							time.Sleep(mostAnew)
						}
						_ = f.Apply(ctx, puts(at(3)))
						ended = append(ended, time.Now())
						f.Confirm(time.Now())
						return ctx.Err()
					})
				}
				s := New(Config{Source: src, Applier: m, Name: "test", Patience: time.Hour})
				stop := start(t, s)
				time.Sleep(time.Hour)
				stop()
				for i := 1; i < storm; i++ {
					limit := min(mostAnew, firstWait<<(i-1))
					if i > calm {
						limit = firstWait
					}
					if gap := asked[i].Sub(ended[i-1]); gap < limit/2 || gap > limit {
						t.Errorf("whole state %d was asked for after %v, want %v to %v", i, gap, limit/2, limit)
					}
				}
				for i, from := range src.asked() {
					if from != (tiergate.Resume{}) {
						t.Errorf("attempt %d: asked from %v", i, from)
					}
				}
			})
		})
	}
}
