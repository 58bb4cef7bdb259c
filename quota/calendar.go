package quota

import (
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tiergate/tiergate"
)

// A Calendar cuts time into the periods of a quota, which follow one another without a gap
// and without overlap, and none of which is empty.
//
// Days and longer periods begin at a time on the wall: midnight, Monday's or the first of the
// month's, or as far from the anchor as the period says, before it as well as after it. An
// anchor on the 29th to 31st begins shorter months on their last day and the others on its own
// day again; one on 29 February begins other years on the 28th.
//
// A period begins at the first moment at which the clock in its zone shows that time or a later
// one. So a time that the clock shows twice, because it is put back, begins a period the
// first time; one that it skips does where it goes on. A day that a zone has skipped whole,
// such as 30 December 2011 in Samoa, is no period.
//
// Hours begin whenever the clock shows a whole hour. They last an hour, also when the clock
// is put forward or back by whole hours: then an hour is skipped, or there are two of the
// same name but for the offset. Where it is moved by less (Lord Howe Island, by half an
// hour), the hour in which that happens is longer or shorter. Anchored hours always last an
// hour, and nothing moves them.
//
// The zero Calendar has no periods: it is one Period without an ID, for ever. A Calendar
// is immutable and safe for concurrent use; its copies share what At remembers.
type Calendar struct{ *calendar }

type calendar struct {
	unit     unit
	zone     *time.Location
	anchored bool
	anchor   wall // what unit 0 begins with
	// current is the period that At was asked for last.
	current atomic.Pointer[span]
}

// A span is a period with its bounds in seconds since 1970, which are what At compares.
type span struct {
	start, end int64
	tiergate.Period
}

// A unit is how long a period is.
type unit struct {
	name string // as in Limit.Period
	iso  string // as ISO 8601 writes such a duration
	// One of the two is not zero, or the unit is a lifetime.
	months, seconds int64
}

const hour, day = 60 * 60, 24 * 60 * 60

var units = []unit{
	{"hour", "PT1H", 0, hour},
	{"day", "P1D", 0, day},
	{"week", "P1W", 0, 7 * day},
	{"month", "P1M", 1, 0},
	{"year", "P1Y", 12, 0},
	{"lifetime", "", 0, 0},
}

// NewCalendar returns the calendar of a limit's Period, Zone and Anchor. Errors are Invalid
// and name the field. It reads the zone's rules anew each time: keep what it returns.
func NewCalendar(period, zone, anchor string) (Calendar, error) {
	c := &calendar{}
	for _, u := range units {
		if u.name == period {
			c.unit = u
		}
	}
	if c.unit.name == "" {
		return Calendar{}, tiergate.FieldErrorf("period", "period %.40q is none of hour, day, week, month, year, lifetime", period)
	}
	var err error
	if c.zone, err = tiergate.LoadZone(zone); err != nil {
		return Calendar{}, err
	}
	if c.unit.name == "week" {
		c.anchor = -3 * day // 1 January 1970 was a Thursday
	}
	if anchor != "" {
		at, err := tiergate.ParseAnchor(anchor)
		if err != nil {
			return Calendar{}, err
		}
		if c.unit.name == "lifetime" {
			return Calendar{}, tiergate.FieldErrorf("anchor", "a lifetime has no anchor")
		}
		c.anchored, c.anchor = true, wall(at.Unix())
	}
	return Calendar{c}, nil
}

// The times that have periods of their own: no period of theirs leaves the years of RFC 3339.
var (
	earliest = time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC).Unix()
	latest   = time.Date(9998, 12, 30, 0, 0, 0, 0, time.UTC).Unix()
)

// At returns the period that holds t, with bounds in UTC; before the year 1 and after the
// year 9998 it is the first or last one inside. Asked again for the period of its last
// answer it only compares; otherwise it takes about a microsecond.
func (c Calendar) At(t time.Time) tiergate.Period {
	if c.calendar == nil {
		return tiergate.Period{}
	}
	second := t.Unix()
	if s := c.current.Load(); s != nil && s.start <= second && second < s.end {
		return s.Period
	}
	s := c.find(min(max(second, earliest), latest))
	c.current.Store(&s)
	return s.Period
}

// find works out the period that holds a second.
func (c *calendar) find(second int64) span {
	switch {
	case c.unit.name == "lifetime":
		return span{earliest, latest + 1, tiergate.Period{ID: "lifetime"}}
	case c.unit.name == "hour" && c.anchored:
		first := c.begin(c.anchor)
		start := first + floorDiv(second-first, hour)*hour
		return c.span(hourID(start, c.zone)+"/"+c.unit.iso, start, start+hour)
	case c.unit.name == "hour":
		start, end := wholeHours(second, c.zone)
		return c.span(hourID(start, c.zone), start, end)
	}
	k := c.index(wallAt(second, c.zone))
	start, end := c.begin(c.wall(k)), c.begin(c.wall(k+1))
	for end <= second { // the clock was put back after it had shown the next period's beginning
		k++
		start, end = end, c.begin(c.wall(k+1))
	}
	return c.span(c.id(c.wall(k)), start, end)
}

func (c *calendar) span(id string, start, end int64) span {
	return span{start, end, tiergate.Period{ID: id, Start: time.Unix(start, 0).UTC(), End: time.Unix(end, 0).UTC()}}
}

// index returns the number of the last unit that begins at w or before it.
func (c *calendar) index(w wall) int64 {
	if c.unit.months == 0 {
		return floorDiv(int64(w-c.anchor), c.unit.seconds)
	}
	k := floorDiv(w.month()-c.anchor.month(), c.unit.months)
	if c.wall(k) > w {
		k--
	}
	return k
}

// wall returns when unit k begins.
func (c *calendar) wall(k int64) wall {
	if c.unit.months == 0 {
		return c.anchor + wall(k*c.unit.seconds)
	}
	return c.anchor.addMonths(k * c.unit.months)
}

// begin returns the first second at which the clock shows w or later.
func (c *calendar) begin(w wall) int64 {
	// Zones are less than a day from UTC: a day earlier the clock has never shown so much.
	t := time.Unix(int64(w)-day, 0).In(c.zone)
	for {
		_, offset := t.Zone()
		start, end := bounds(t)
		at := max(int64(w)-int64(offset), start)
		if at < end {
			return at
		}
		t = time.Unix(end, 0).In(c.zone)
	}
}

// bounds returns seconds from and up to which the clock has the offset that it has at t. It may
// have the same one before and after them too.
func bounds(t time.Time) (start, end int64) {
	from, to := t.ZoneBounds()
	start, end = math.MinInt64, math.MaxInt64
	if !from.IsZero() {
		start = from.Unix()
	}
	if !to.IsZero() {
		end = to.Unix()
	}
	if end <= t.Unix() {
		// Where a rule says when clocks are moved, the end of a year is a bound too, and up to
		// Go 1.26 a leap year's is a day too early (https://go.dev/issue/81583).
		end += day
	}
	return start, end
}

// wholeHours returns the last second up to the given one, and the first after it, at which
// the clock shows a whole hour.
func wholeHours(second int64, zone *time.Location) (from, to int64) {
	t := time.Unix(second, 0).In(zone)
	for at := t; ; {
		_, offset := at.Zone()
		start, _ := bounds(at)
		from = floorDiv(at.Unix()+int64(offset), hour)*hour - int64(offset)
		if from >= start {
			break
		}
		at = time.Unix(start-1, 0).In(zone)
	}
	for at := t; ; {
		_, offset := at.Zone()
		_, end := bounds(at)
		to = floorDiv(at.Unix()+int64(offset), hour)*hour + hour - int64(offset)
		if to < end {
			return from, to
		}
		at = time.Unix(end, 0).In(zone)
		if wallAt(end, zone)%hour == 0 {
			return from, end
		}
	}
}

// id names a period by when it begins: "2026-11-24", "2026-W48", "2026-11", "2026"; an
// anchored one as "2026-01-31/P1M", so that those of different lengths are never the same.
func (c *calendar) id(w wall) string {
	t := w.time()
	switch {
	case c.anchored && w%day == 0:
		return t.Format(time.DateOnly) + "/" + c.unit.iso
	case c.anchored:
		return t.Format("2006-01-02T15:04:05") + "/" + c.unit.iso
	case c.unit.name == "day":
		return t.Format(time.DateOnly)
	case c.unit.name == "week":
		year, week := t.ISOWeek()
		return t.AddDate(year-t.Year(), 0, 0).Format("2006") + "-W" + strconv.Itoa(100 + week)[1:]
	case c.unit.name == "month":
		return t.Format("2006-01")
	}
	return t.Format("2006")
}

// hourID names an hour by what the clock shows and its offset: "2026-11-24T13+01", with
// what is not zero of the rest, "2026-11-24T13:20:00+05:30".
func hourID(start int64, zone *time.Location) string {
	t := time.Unix(start, 0).In(zone)
	layout := "2006-01-02T15"
	if wallAt(start, zone)%hour != 0 {
		layout = "2006-01-02T15:04:05"
	}
	id := t.Format(layout + "Z07:00:00")
	id = strings.TrimSuffix(id, ":00")
	return strings.TrimSuffix(id, ":00")
}

// A wall is what a clock on the wall shows, as the seconds from when it showed 1 January 1970.
type wall int64

func wallAt(second int64, zone *time.Location) wall {
	_, offset := time.Unix(second, 0).In(zone).Zone()
	return wall(second + int64(offset))
}

func (w wall) time() time.Time { return time.Unix(int64(w), 0).UTC() }

// month counts the months from the year 0.
func (w wall) month() int64 {
	t := w.time()
	return int64(t.Year())*12 + int64(t.Month()) - 1
}

// addMonths is the same day and time n months later, or the last day of that month.
func (w wall) addMonths(n int64) wall {
	t := w.time()
	month := w.month() + n
	year, last := int(floorDiv(month, 12)), month-floorDiv(month, 12)*12
	days := time.Date(year, time.Month(last)+2, 0, 0, 0, 0, 0, time.UTC).Day()
	first := time.Date(year, time.Month(last)+1, min(t.Day(), days), 0, 0, 0, 0, time.UTC)
	clock := (w%day + day) % day
	return wall(first.Unix()) + clock
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
