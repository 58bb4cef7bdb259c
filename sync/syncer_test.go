package syncer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tiergate/tiergate"
)

// A source that is lost again and again is asked anew from where it left off, ever less often, and at once more often after it answered.
func TestSyncer_follows_for_ever_with_backoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		var asked []time.Time
		once := func(say follow) follow {
			return func(ctx context.Context, from tiergate.Resume, f tiergate.Follower) error {
				asked = append(asked, time.Now())
				return say(ctx, from, f)
			}
		}
		answer := func(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
			_ = f.Apply(ctx, whole(at(7), &tiergate.Tier{Key: "free"}))
			return errors.New("reset by peer")
		}
		src := &script{}
		for range 9 {
			src.calls = append(src.calls, once(away))
		}
		src.calls = append(src.calls, once(answer), once(away))
		s := New(Config{Source: src, Applier: m, Name: "test"})
		stop := start(t, s)
		<-s.Ready()
		time.Sleep(time.Hour)
		stop()

		for i := 1; i < 11; i++ {
			limit := min(mostWait, firstWait<<(i-1))
			if i == 10 {
				limit = firstWait // it had answered
			}
			if gap := asked[i].Sub(asked[i-1]); gap < limit/2 || gap > limit {
				t.Errorf("attempt %d came after %v, want %v to %v", i, gap, limit/2, limit)
			}
		}
		froms := src.asked()
		if froms[9] != (tiergate.Resume{}) || froms[10] != at(7) || froms[11] != at(7) {
			t.Errorf("the source was asked from %v", froms[9:])
		}
	})
}

// A refused revision leaves the last good one in force, is named once, stops the clock of freshness, and is mended by the next.
func TestSyncer_reports_a_refusal_and_goes_on(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{refuse: func(r tiergate.Revision) error {
			if r.Resume.Rev == 2 {
				return errors.New(`access.rego:3: rego_parse_error`)
			}
			return nil
		}}
		mend := make(chan struct{})
		src := &script{calls: []follow{func(ctx context.Context, _ tiergate.Resume, f tiergate.Follower) error {
			_ = f.Apply(ctx, whole(at(1), &tiergate.Tier{Key: "free"}))
			f.Confirm(time.Now())
			if err := f.Apply(ctx, puts(at(2), &tiergate.Tier{Key: "pro"})); err == nil {
				t.Error("the source was not told of the refusal")
			}
			time.Sleep(time.Minute)
			f.Confirm(time.Now())
			<-mend
			_ = f.Apply(ctx, puts(at(3), &tiergate.Tier{Key: "enterprise"}))
			f.Confirm(time.Now())
			<-ctx.Done()
			return ctx.Err()
		}}}
		s := New(Config{Source: src, Applier: m, Name: "test", Patience: time.Hour})
		start(t, s)
		if err := s.Wait(t.Context(), at(1)); err != nil {
			t.Fatal(err)
		}
		if err := s.Wait(t.Context(), at(2)); tiergate.CodeOf(err) != tiergate.Conflict || !strings.Contains(err.Error(), "access.rego:3") {
			t.Errorf("Wait for a refused revision: %v", err)
		}
		time.Sleep(90 * time.Second)
		f := s.Freshness()
		if f.Age(time.Now()) < time.Minute || !strings.Contains(f.Refused, "0192f0aa-2 refused: access.rego:3") || f.Source != "test" {
			t.Errorf("freshness after a refusal: %+v, age %v", f, f.Age(time.Now()))
		}
		close(mend)
		synctest.Wait()
		if err := s.Wait(t.Context(), at(2)); err != nil {
			t.Errorf("Wait after the next revision: %v", err)
		}
		if f := s.Freshness(); f.Refused != "" || f.Age(time.Now()) != 0 || !f.Connected {
			t.Errorf("freshness after the next revision: %+v", f)
		}
		for _, key := range []string{"free", "pro", "enterprise"} {
			if m.get(&tiergate.Tier{Key: key}) == nil {
				t.Errorf("tier %s is not in force", key)
			}
		}
	})
}
