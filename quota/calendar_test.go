package quota_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/quota"
)

func calendar(t interface {
	Helper()
	Fatal(...any)
}, period, zone, anchor string,
) quota.Calendar {
	t.Helper()
	c, err := quota.NewCalendar(period, zone, anchor)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

// A period has a short name, and begins and ends when the clock in its zone says so.
func TestCalendar_periods(t *testing.T) {
	for name, c := range map[string]struct {
		period, zone, anchor, at string
		id, start, end           string
	}{
		"hour":            {"hour", "", "", "2026-11-24T13:20:00Z", "2026-11-24T13Z", "2026-11-24T13:00:00Z", "2026-11-24T14:00:00Z"},
		"hour in Berlin":  {"hour", "Europe/Berlin", "", "2026-11-24T13:20:00Z", "2026-11-24T14+01", "2026-11-24T13:00:00Z", "2026-11-24T14:00:00Z"},
		"hour in Kolkata": {"hour", "Asia/Kolkata", "", "2026-11-24T13:20:00Z", "2026-11-24T18+05:30", "2026-11-24T12:30:00Z", "2026-11-24T13:30:00Z"},
		"day":             {"day", "", "", "2026-11-24T23:59:59Z", "2026-11-24", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"},
		"day in New York": {"day", "America/New_York", "", "2026-11-24T04:59:59Z", "2026-11-23", "2026-11-23T05:00:00Z", "2026-11-24T05:00:00Z"},
		"week":            {"week", "", "", "2027-01-03T12:00:00Z", "2026-W53", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"},
		"week of two years": {
			"week", "", "", "2024-12-30T12:00:00Z", "2025-W01", "2024-12-30T00:00:00Z", "2025-01-06T00:00:00Z",
		},
		"month":            {"month", "Asia/Tokyo", "", "2026-10-31T15:00:00Z", "2026-11", "2026-10-31T15:00:00Z", "2026-11-30T15:00:00Z"},
		"year":             {"year", "", "", "2026-11-24T00:00:00Z", "2026", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		"before 1970":      {"month", "", "", "1969-12-31T23:59:59Z", "1969-12", "1969-12-01T00:00:00Z", "1970-01-01T00:00:00Z"},
		"an anchored hour": {"hour", "Asia/Kolkata", "2026-01-31T15:20:00", "2026-11-24T13:20:00Z", "2026-11-24T18:20:00+05:30/PT1H", "2026-11-24T12:50:00Z", "2026-11-24T13:50:00Z"},
		"an anchored day":  {"day", "Europe/Berlin", "2026-01-31T15:00:00", "2026-06-01T12:59:59Z", "2026-05-31T15:00:00/P1D", "2026-05-31T13:00:00Z", "2026-06-01T13:00:00Z"},
		"an anchored week": {"week", "", "2026-11-24", "2026-11-24T00:00:00Z", "2026-11-24/P1W", "2026-11-24T00:00:00Z", "2026-12-01T00:00:00Z"},
		"a year of 29 February": {
			"year", "", "2024-02-29", "2027-06-01T00:00:00Z", "2027-02-28/P1Y", "2027-02-28T00:00:00Z", "2028-02-29T00:00:00Z",
		},
		"back over midnight": {
			"day", "America/St_Johns", "", "2010-11-07T02:45:00Z", "2010-11-07", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z",
		},
		"an anchor before 1970": {
			"month", "", "1960-01-31T15:00:00", "2026-03-01T00:00:00Z", "2026-02-28T15:00:00/P1M", "2026-02-28T15:00:00Z", "2026-03-31T15:00:00Z",
		},
		"the last day of a leap year": {
			"day", "Europe/Berlin", "", "2040-12-31T12:00:00Z", "2040-12-31", "2040-12-30T23:00:00Z", "2040-12-31T23:00:00Z",
		},
		"the last hour of a leap year": {
			"hour", "Australia/Sydney", "", "2040-12-31T23:30:00Z", "2041-01-01T10+11", "2040-12-31T23:00:00Z", "2041-01-01T00:00:00Z",
		},
		"before the anchor": {"month", "", "2026-01-31", "2025-03-01T00:00:00Z", "2025-02-28/P1M", "2025-02-28T00:00:00Z", "2025-03-31T00:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			got := calendar(t, c.period, c.zone, c.anchor).At(at(t, c.at))
			want := tiergate.Period{ID: c.id, Start: at(t, c.start), End: at(t, c.end)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.Start.Location() != time.UTC || got.End.Location() != time.UTC {
				t.Errorf("bounds in %v and %v, want UTC", got.Start.Location(), got.End.Location())
			}
		})
	}
}

// following lists the names and lengths of the periods that follow one another from a time on.
func following(c quota.Calendar, from time.Time, n int) []string {
	var all []string
	for range n {
		p := c.At(from)
		all = append(all, fmt.Sprint(p.ID, " ", p.End.Sub(p.Start)))
		from = p.End
	}
	return all
}

// Where the clock is moved, a period begins when the clock first shows its time or later.
func TestCalendar_moved_clocks(t *testing.T) {
	for name, c := range map[string]struct {
		period, zone, anchor, from string
		want                       []string
	}{
		"a short day and a long one": {
			"day", "Europe/Berlin", "", "2026-03-27T23:00:00Z",
			[]string{"2026-03-28 24h0m0s", "2026-03-29 23h0m0s", "2026-03-30 24h0m0s"},
		},
		"midnight is skipped":                 {"day", "Asia/Beirut", "", "2026-03-27T22:00:00Z", []string{"2026-03-28 24h0m0s", "2026-03-29 23h0m0s", "2026-03-30 24h0m0s"}},
		"midnight is there twice":             {"day", "America/Havana", "", "2026-10-31T04:00:00Z", []string{"2026-10-31 24h0m0s", "2026-11-01 25h0m0s", "2026-11-02 24h0m0s"}},
		"back over midnight after one minute": {"day", "America/St_Johns", "", "2010-11-06T02:30:00Z", []string{"2010-11-06 24h0m0s", "2010-11-07 25h0m0s"}},
		"a day is skipped":                    {"day", "Pacific/Apia", "", "2011-12-29T10:00:00Z", []string{"2011-12-29 24h0m0s", "2011-12-31 24h0m0s", "2012-01-01 24h0m0s"}},
		"an anchor that is skipped":           {"day", "Europe/Berlin", "2026-01-01T02:30:00", "2026-03-28T01:30:00Z", []string{"2026-03-28T02:30:00/P1D 23h30m0s", "2026-03-29T02:30:00/P1D 23h30m0s", "2026-03-30T02:30:00/P1D 24h0m0s"}},
		"an anchor that is there twice":       {"day", "Europe/Berlin", "2026-01-01T02:30:00", "2026-10-24T00:30:00Z", []string{"2026-10-24T02:30:00/P1D 24h0m0s", "2026-10-25T02:30:00/P1D 25h0m0s"}},
		"an hour is skipped":                  {"hour", "Europe/Berlin", "", "2026-03-29T00:00:00Z", []string{"2026-03-29T01+01 1h0m0s", "2026-03-29T03+02 1h0m0s"}},
		"an hour is there twice":              {"hour", "Europe/Berlin", "", "2026-10-25T00:00:00Z", []string{"2026-10-25T02+02 1h0m0s", "2026-10-25T02+01 1h0m0s", "2026-10-25T03+01 1h0m0s"}},
		"half an hour is skipped":             {"hour", "Australia/Lord_Howe", "", "2026-10-03T14:30:00Z", []string{"2026-10-04T01+10:30 1h30m0s", "2026-10-04T03+11 1h0m0s"}},
		"half an hour is there twice":         {"hour", "Australia/Lord_Howe", "", "2026-04-04T14:00:00Z", []string{"2026-04-05T01+11 1h30m0s", "2026-04-05T02+10:30 1h0m0s"}},
		"nothing moves an anchored hour":      {"hour", "Australia/Lord_Howe", "2026-01-01", "2026-04-04T14:00:00Z", []string{"2026-04-05T01+11/PT1H 1h0m0s", "2026-04-05T01:30:00+10:30/PT1H 1h0m0s"}},
		"the anchor's day where there is one": {
			"month", "", "2026-01-31", "2026-01-31T00:00:00Z",
			[]string{"2026-01-31/P1M 672h0m0s", "2026-02-28/P1M 744h0m0s", "2026-03-31/P1M 720h0m0s", "2026-04-30/P1M 744h0m0s"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := following(calendar(t, c.period, c.zone, c.anchor), at(t, c.from), len(c.want))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A lifetime has no bounds, and so has what has no periods.
func TestCalendar_without_bounds(t *testing.T) {
	for _, when := range []time.Time{{}, time.Unix(0, 0), time.Unix(1<<60, 0)} {
		if got := calendar(t, "lifetime", "Asia/Tokyo", "").At(when); got != (tiergate.Period{ID: "lifetime"}) {
			t.Errorf("a lifetime at %v: %v", when, got)
		}
		if got := (quota.Calendar{}).At(when); got != (tiergate.Period{}) {
			t.Errorf("the zero calendar at %v: %v", when, got)
		}
	}
}

// Times that RFC 3339 cannot say are in the first or the last period that it can.
func TestCalendar_outside_of_all_years(t *testing.T) {
	c := calendar(t, "year", "", "")
	for when, want := range map[time.Time]string{
		{}: "0001", time.Unix(-1<<55, 0): "0001", time.Unix(1<<55, 0): "9998", civil(9999, 6, 1): "9998", civil(9998, 6, 1): "9998",
	} {
		if got := c.At(when); got.ID != want {
			t.Errorf("at %v: %s, want %s", when, got.ID, want)
		}
	}
}

// What is no period, no zone or no anchor is refused, and the error names the field.
func TestNewCalendar_refuses(t *testing.T) {
	for name, c := range map[string]struct{ period, zone, anchor, field string }{
		"a rate's period":       {"second", "", "", "period"},
		"no period":             {"", "", "", "period"},
		"capitals":              {"Month", "", "", "period"},
		"no such zone":          {"day", "Mars/Base", "", "zone"},
		"the machine's zone":    {"day", "Local", "", "zone"},
		"a path":                {"day", "../../etc/passwd", "", "zone"},
		"no such day":           {"month", "", "2026-02-29", "anchor"},
		"an offset":             {"month", "", "2026-01-31T15:00:00Z", "anchor"},
		"half a second":         {"month", "", "2026-01-31T15:00:00.5", "anchor"},
		"a minute":              {"month", "", "2026-01-31T15:00", "anchor"},
		"a leap second":         {"month", "", "2016-12-31T23:59:60", "anchor"},
		"one digit":             {"month", "", "2026-1-31", "anchor"},
		"the year 0":            {"month", "", "0000-01-31", "anchor"},
		"words":                 {"month", "", "tomorrow", "anchor"},
		"an anchored life time": {"lifetime", "", "2026-01-31", "anchor"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := quota.NewCalendar(c.period, c.zone, c.anchor)
			if e, ok := errors.AsType[*tiergate.Error](err); !ok || e.Code != tiergate.Invalid || e.Field != c.field {
				t.Errorf("got %v, want an Invalid error about %s", err, c.field)
			}
		})
	}
}

var everyPeriod = []string{"hour", "day", "week", "month", "year"}

func anyCalendar(t *rapid.T) quota.Calendar {
	names, err := zoneNames()
	if err != nil {
		t.Fatal(err)
	}
	anchor := rapid.Custom(func(t *rapid.T) string {
		day := civil(rapid.IntRange(1, 9999).Draw(t, "year"), rapid.IntRange(1, 12).Draw(t, "month"), 1)
		last := day.AddDate(0, 1, -1).Day()
		when := day.AddDate(0, 0, rapid.IntRange(1, last).Draw(t, "day")-1).Add(time.Duration(rapid.IntRange(0, 86399).Draw(t, "second")) * time.Second)
		return when.Format(rapid.SampledFrom([]string{"2006-01-02", "2006-01-02T15:04:05"}).Draw(t, "layout"))
	})
	return calendar(t, rapid.SampledFrom(everyPeriod).Draw(t, "period"), rapid.SampledFrom(names).Draw(t, "zone"),
		rapid.OneOf(rapid.Just(""), anchor).Draw(t, "anchor"))
}

// tiles holds the period of one moment against its neighbours.
func tiles(t interface{ Fatalf(string, ...any) }, c quota.Calendar, when time.Time) {
	p := c.At(when)
	if !p.Holds(when) || !p.Start.Before(p.End) {
		t.Fatalf("%v is not in its period %v", when, p)
	}
	if first, last := c.At(p.Start), c.At(p.End.Add(-1)); first != p || last != p {
		t.Fatalf("%v begins in %v and ends in %v", p, first, last)
	}
	before, after := c.At(p.Start.Add(-1)), c.At(p.End)
	if before.End != p.Start || after.Start != p.End || before.ID == p.ID || after.ID == p.ID || before.ID == after.ID {
		t.Fatalf("%v follows %v, and %v follows it", p, before, after)
	}
}

// Periods tile time in any zone and with any anchor, whatever years.
func TestCalendar_tiles_time(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyCalendar(t)
		when := time.Unix(rapid.Int64Range(civil(3, 1, 1).Unix(), civil(9996, 1, 1).Unix()).Draw(t, "when"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		if rapid.Bool().Draw(t, "now") {
			when = time.Unix(rapid.Int64Range(civil(1970, 1, 1).Unix(), civil(2100, 1, 1).Unix()).Draw(t, "when now"), 0)
		}
		tiles(t, c, when)
	})
}

// A later time is never in an earlier period, and the order of the questions changes no answer.
func TestCalendar_is_monotonic_and_remembers_rightly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyCalendar(t)
		from := rapid.Int64Range(civil(1960, 1, 1).Unix(), civil(2100, 1, 1).Unix()).Draw(t, "from")
		steps := rapid.SliceOfN(rapid.Int64Range(-100_000, 100_000), 1, 30).Draw(t, "steps")
		got := map[int64]tiergate.Period{}
		for _, step := range steps {
			from += step
			got[from] = c.At(time.Unix(from, 0))
		}
		var times []int64
		for when := range got {
			times = append(times, when)
		}
		slices.Sort(times)
		for i, when := range times[1:] {
			if got[when].Start.Before(got[times[i]].Start) {
				t.Fatalf("%v is after %v, and in an earlier period", when, times[i])
			}
		}
		for when, p := range got {
			if again := c.At(time.Unix(when, 0)); again != p {
				t.Fatalf("%v was in %v, and is in %v", when, p, again)
			}
		}
	})
}

// One calendar serves many at once, in different periods.
func TestCalendar_serves_many_at_once(t *testing.T) {
	c := calendar(t, "month", "Europe/Berlin", "2026-01-31")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 2000 {
				when := civil(2020, 1+i, n%28)
				if !c.At(when).Holds(when) {
					t.Errorf("%v is not in its period", when)
				}
			}
		})
	}
	wg.Wait()
}

// Asking for the current period allocates nothing.
func TestCalendar_At_does_not_alloc(t *testing.T) {
	c := calendar(t, "month", "Europe/Berlin", "")
	when := civil(2026, 11, 24)
	if n := testing.AllocsPerRun(1000, func() { c.At(when) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever is asked for makes a calendar that tiles time, or an Invalid error.
func FuzzNewCalendar(f *testing.F) {
	f.Fuzz(func(t *testing.T, period, zone, anchor string, second int64) {
		c, err := quota.NewCalendar(period, zone, anchor)
		if err != nil {
			if tiergate.CodeOf(err) != tiergate.Invalid {
				t.Fatalf("%v", err)
			}
			return
		}
		when := time.Unix(second, 0)
		p := c.At(when)
		if period != "lifetime" && when.Year() > 2 && when.Year() < 9997 {
			tiles(t, c, when)
		}
		if p.ID == "" || len(p.ID) > 40 {
			t.Fatalf("a period is called %q", p.ID)
		}
	})
}

func BenchmarkCalendar(b *testing.B) {
	now := civil(2026, 11, 24)
	for _, period := range []string{"hour", "day", "month"} {
		b.Run("same_"+period, func(b *testing.B) {
			c := calendar(b, period, "Europe/Berlin", "")
			for b.Loop() {
				c.At(now)
			}
		})
		b.Run("other_"+period, func(b *testing.B) {
			c := calendar(b, period, "Europe/Berlin", "")
			for n := 0; b.Loop(); n++ {
				c.At(now.AddDate(0, n%2, 0))
			}
		})
	}
	b.Run("parallel_month", func(b *testing.B) {
		c := calendar(b, "month", "Europe/Berlin", "")
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				c.At(now)
			}
		})
	})
}
