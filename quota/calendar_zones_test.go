package quota_test

import (
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tiergate/tiergate/quota"
)

// The plans that are held against the oracle over all the time that is looked at, and those
// whose days and hours are, which takes long.
var (
	longPlans = []plan{
		{"week", ""},
		{"month", ""},
		{"year", ""},
		{"month", "2026-01-29"},
		{"month", "2024-02-29"},
		{"month", "2026-01-30T02:30:00"},
		{"month", "2026-01-31"},
		{"month", "2025-12-31T15:00:00"},
		{"year", "2024-02-29T02:30:00"},
		{"week", "2027-03-28T02:30:00"},
	}
	shortPlans = []plan{{"day", ""}, {"day", "2026-01-31T02:30:00"}, {"hour", ""}}
)

// Every calendar cuts time as the slow oracle does: in each zone, around each moment at which
// its clock is moved from 2020 to 2035, and in all these years for weeks, months and years,
// those anchored on the 29th to 31st among them. With TIERGATE_CALENDAR=all it is each day of
// 1970 to 2100, and the hours around each move and of each New Year; a short test looks at every
// tenth zone.
func TestCalendar_agrees_with_the_oracle_in_every_zone(t *testing.T) {
	from, to, all := 2020, 2036, os.Getenv("TIERGATE_CALENDAR") == "all"
	if all {
		from, to = 1970, 2101
	}
	names := slices.Clone(allZones(t))
	if testing.Short() {
		for i := range len(names) / 10 {
			names[i] = names[10*i]
		}
		names = names[:len(names)/10]
	}
	var zones, moves, periods, differences atomic.Int64
	t.Run("zones", func(t *testing.T) {
		for half := range 2 { // as many at a time as there are cores is enough
			t.Run("half", func(t *testing.T) {
				t.Parallel()
				for i, name := range names {
					if i%2 != half {
						continue
					}
					z := newPlainZone(t, name, from, to)
					zones.Add(1)
					moves.Add(int64(len(z.transitions())))
					n, wrong := examineZone(t, z, name, from, to, all)
					periods.Add(n)
					differences.Add(wrong)
				}
			})
		}
	})
	t.Logf("calendar: %d zones, %d moves, %d periods, %d differences", zones.Load(), moves.Load(), periods.Load(), differences.Load())
	if periods.Load() < 2000*int64(len(names)) || moves.Load() < 4*int64(len(names)) {
		t.Errorf("only %d periods and %d moves were looked at", periods.Load(), moves.Load())
	}
}

func examineZone(t *testing.T, z *plainZone, name string, from, to int, all bool) (periods, differences int64) {
	t.Helper()
	examine := func(p plan, a, b time.Time) {
		n, wrong := agree(t, z, name, p, a, b)
		periods, differences = periods+n, differences+wrong
	}
	begin, end := civil(from, 1, 1), civil(to, 1, 1)
	for _, p := range longPlans {
		examine(p, begin.AddDate(-1, 0, 0), end)
	}
	windows := z.transitions()
	if all {
		examine(shortPlans[0], begin, end)
		examine(shortPlans[1], begin, end)
		for year := begin; year.Before(end); year = year.AddDate(1, 0, 0) {
			windows = append(windows, year.Unix())
		}
		slices.Sort(windows)
	}
	for i, at := range windows {
		if i > 0 && at-windows[i-1] < 24*3600 {
			at = windows[i-1] + 24*3600 // the days before have been looked at
		}
		day := time.Unix(at, 0).UTC().Truncate(24 * time.Hour)
		examine(plan{"day", "2026-01-31T" + z.odd(at)}, day.AddDate(0, 0, -1), day.AddDate(0, 0, 3))
		for _, p := range shortPlans {
			if p.period == "hour" || !all {
				examine(p, day.AddDate(0, 0, -1), day.AddDate(0, 0, 3))
			}
		}
	}
	return periods, differences
}

// agree holds a calendar against the oracle for the periods that begin in some days.
func agree(t *testing.T, z *plainZone, name string, p plan, from, to time.Time) (periods, differences int64) {
	t.Helper()
	c, err := quota.NewCalendar(p.period, name, p.anchor)
	if err != nil {
		t.Fatal(err)
	}
	var want []begun
	if p.period == "hour" {
		want = wholeHours(z, from, to)
	} else {
		want = p.begun(z, from, to)
	}
	if !inOrder(want) {
		t.Fatalf("%s %v: the oracle's periods do not follow one another", name, p)
	}
	for i := range len(want) - 1 {
		this, next := want[i], want[i+1]
		periods++
		for _, at := range []time.Time{time.Unix(this.second, 0), time.Unix((this.second+next.second)/2, 0), time.Unix(next.second, -1)} {
			got := c.At(at)
			if got.ID == this.id && got.Start.Unix() == this.second && got.End.Unix() == next.second {
				continue
			}
			if differences++; differences < 5 {
				t.Errorf("%s %v at %v: %v, want %s from %v to %v", name, p, at.In(z.zone), got, this.id, time.Unix(this.second, 0).UTC(), time.Unix(next.second, 0).UTC())
			}
		}
	}
	return periods, differences
}
