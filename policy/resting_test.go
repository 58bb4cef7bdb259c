package policy

import (
	"testing"
	"time"
)

// Three overruns within a while are followed by a rest, each further one by another; time
// forgives, and nobody else is concerned.
func TestResting(t *testing.T) {
	var r resting
	now := time.Now()
	check := func(what string, who uint64, at time.Time, want bool) {
		t.Helper()
		if got := r.rests(who, at); got != want {
			t.Errorf("%s: %d rests: %t", what, who, got)
		}
	}
	check("at first", 7, now, false)
	for range breakAfter - 1 {
		r.overran(7, now)
	}
	check("before the third overrun", 7, now, false)
	r.overran(7, now)
	check("after the third", 7, now, true)
	check("after the third of another", 7+restingSets, now, false)
	check("after the rest", 7, now.Add(restFor), false)
	r.overran(7, now.Add(restFor))
	check("after one more", 7, now.Add(restFor), true)
	later := now.Add(restFor + breakWithin + time.Second)
	r.overran(7, later)
	check("after one long after", 7, later, false)
	r.overran(7, later)
	r.overran(7, later)
	if n := r.count(later); n != 1 {
		t.Errorf("%d rest", n)
	}
	r.forget()
	check("when all is forgotten", 7, later, false)
}

// However many overrun, the table keeps those who did last.
func TestResting_is_bounded(t *testing.T) {
	var r resting
	now := time.Now()
	for i := range uint64(10 * restingSets * restingWays) {
		for range breakAfter {
			r.overran(1+i, now.Add(time.Duration(i)))
		}
	}
	if n := r.count(now); n != restingSets*restingWays {
		t.Errorf("%d rest", n)
	}
	if last := uint64(10 * restingSets * restingWays); !r.rests(last, now) || r.rests(1, now) {
		t.Error("those who overran longest ago are not those who are forgotten")
	}
}
