package policy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiergate/tiergate"
)

// A turn is one question's time at evaluating: the place it holds, and the deadline of the
// evaluation under way. OPA asks it between expressions whether to stop, so it costs no
// goroutine.
//
// A question begins at one of the places for all. One that turns out costly must go over
// to one of the few places for costly questions, and waits for it without holding any: so
// many costly questions at once, whoever asks them, leave the other places to cheap ones.
//
// The deadline is by the wall clock, and on a busy machine a goroutine may lose the
// processor for longer than that. So an evaluation that has done next to nothing by its
// deadline is taken for starved, not for greedy, and has patience deadlines.
type turn struct {
	engine *Engine
	who    uint64        // who or what rests when it overruns
	place  chan struct{} // what it holds a place of, nil for none

	over     atomic.Bool // the timer has rung
	timer    *time.Timer
	began    time.Time // the evaluation under way
	deadline time.Time // of the evaluation under way, zero before the first
	last     time.Time // the deadline if it is starved
	// How often OPA has asked during the evaluation under way, and during those before. By
	// the evaluating goroutine only.
	asked, before int
	verdict       error // why it must stop, once it must

	rules ruleCache // of the evaluation under way
}

const (
	costlyAsks      = 2000 // expressions of one question: half a millisecond or more
	greedyAsks      = 2000 // expressions of one evaluation: well over what a deadline is for
	defaultPatience = 100  // deadlines
	maxQueue        = 4    // deadlines that a question waits for a place
)

var turns = sync.Pool{New: func() any { return &turn{} }}

// begin waits for the question's turn, for a bounded time.
func (e *Engine) begin(who uint64) (*turn, error) {
	if err := e.rests(who); err != nil {
		return nil, err
	}
	if !enter(e.places, e.settings.Deadline*maxQueue) {
		return nil, e.crowded()
	}
	if err := e.rests(who); err != nil { // it may have begun to while we waited
		<-e.places
		return nil, err
	}
	t := turns.Get().(*turn)
	t.engine, t.who, t.place, t.asked, t.before, t.verdict = e, who, e.places, 0, 0, nil
	t.deadline = time.Time{}
	return t, nil
}

// end gives the turn and its place back. One whose timer has rung, or may be about to, is
// thrown away.
func (t *turn) end() {
	if t.place != nil {
		<-t.place
	}
	if t.timer == nil || t.timer.Stop() {
		t.engine, t.place, t.verdict = nil, nil, nil
		turns.Put(t)
	}
}

// start begins an evaluation's time. The timer of an evaluation before goes on: should it
// ring too early, late sets it again.
func (t *turn) start() {
	t.before, t.asked = t.before+t.asked, 0
	d := t.engine.settings.Deadline
	first := t.deadline.IsZero()
	t.began = time.Now()
	t.deadline, t.last = t.began.Add(d), t.began.Add(d*time.Duration(t.engine.settings.patience))
	switch {
	case t.timer == nil:
		t.timer = time.AfterFunc(d, t.Cancel)
	case first:
		t.over.Store(false)
		t.timer.Reset(d)
	}
}

// Cancel marks the deadline.
func (t *turn) Cancel() { t.over.Store(true) }

// Cancelled reports whether the evaluation must stop.
func (t *turn) Cancelled() bool {
	t.asked++
	switch {
	case t.verdict != nil:
		return true
	case t.over.Load():
		t.verdict = t.late()
	case t.before+t.asked >= costlyAsks && t.place == t.engine.places:
		t.verdict = t.giveWay()
	}
	return t.verdict != nil
}

// late judges an evaluation whose timer has rung.
func (t *turn) late() error {
	t.over.Store(false)
	now := time.Now()
	if now.Before(t.deadline) { // the ring was for an evaluation before
		t.timer.Reset(t.deadline.Sub(now))
		return nil
	}
	t.over.Store(true)
	if t.asked > greedyAsks || now.After(t.last) {
		return errOverrun
	}
	return t.giveWay()
}

// giveWay moves a costly question to a place for such. The wait for it is no part of the
// evaluation's time.
func (t *turn) giveWay() error {
	e := t.engine
	if t.place == e.costly {
		return nil
	}
	<-t.place
	t.place = nil
	waited := time.Now()
	if !enter(e.costly, e.settings.Deadline*maxQueue) {
		return e.crowded()
	}
	t.place = e.costly
	if err := e.rests(t.who); err != nil {
		return err
	}
	t.last = t.last.Add(time.Since(waited))
	if !t.over.Load() {
		t.timer.Stop()
		t.deadline = t.deadline.Add(time.Since(waited))
		t.timer.Reset(time.Until(t.deadline))
	}
	return nil
}

// enter takes a place, waiting for at most d when there is none.
func enter(places chan struct{}, d time.Duration) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case places <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

func (e *Engine) crowded() error {
	return tiergate.Errorf(tiergate.Unavailable, "too many policy evaluations are under way")
}

func (e *Engine) rests(who uint64) error {
	if e.resting.rests(who, time.Now()) {
		return tiergate.Errorf(tiergate.Unavailable, "the policy took too long for this caller again and again and rests for %s", restFor)
	}
	return nil
}
