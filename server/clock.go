package server

import (
	"math/rand/v2"
	"time"

	"github.com/tiergate/tiergate"
)

// stepTime is how long a step of the clock lasts, 0 when time alone changes nothing or everything.
func stepTime(steps tiergate.ClockStep) time.Duration {
	switch steps {
	case tiergate.StepDay:
		return 24 * time.Hour
	case tiergate.StepHour:
		return time.Hour
	}
	return 0
}

// NextTurn is when time alone changes answers next; the zero time when it does not, or always may.
func NextTurn(steps tiergate.ClockStep, now time.Time) time.Time {
	d := stepTime(steps)
	if d == 0 {
		return time.Time{}
	}
	return now.UTC().Truncate(d).Add(d)
}

// Turn numbers the step of the clock that now is in; 0 when time alone changes nothing, or always may.
func Turn(steps tiergate.ClockStep, now time.Time) int64 {
	if d := stepTime(steps); d > 0 {
		return now.UTC().Truncate(d).Unix() / int64(d/time.Second)
	}
	return 0
}

// PerClient is how long it takes to tell one client something, and to answer what it then asks.
const PerClient = 50 * time.Microsecond

// Spread returns a part of the time over which what happens to many clients at one moment is
// spread, which is at least least: 10,000 that ask for all flags in the same millisecond would be
// served no sooner, and everybody else later.
func Spread(clients int, least time.Duration) time.Duration {
	return rand.N(max(least, time.Duration(clients)*PerClient, 1))
}
