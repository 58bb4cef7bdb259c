package quota_test

import (
	"archive/zip"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// zoneNames are the zones that Go knows, one of each set that have the same rules.
var zoneNames = sync.OnceValues(func() ([]string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	archive, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(out)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	var names []string
	seen := map[string]bool{}
	for _, file := range archive.File {
		r, err := file.Open()
		if err != nil {
			return nil, err
		}
		rules, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		if name := file.Name; !strings.HasSuffix(name, "/") && name != "Factory" && !seen[string(rules)] {
			seen[string(rules)] = true
			names = append(names, name)
		}
	}
	return names, nil
})

func allZones(t *testing.T) []string {
	t.Helper()
	names, err := zoneNames()
	if err != nil || len(names) < 300 {
		t.Fatalf("only %d zones: %v", len(names), err)
	}
	return names
}

// A plainZone is a clock on the wall that is looked at again and again: all that the oracle
// asks of it is what it shows at one moment.
type plainZone struct {
	zone    *time.Location
	from    int64   // of offsets, in seconds since 1970
	offsets []int32 // each hour's
	first   map[int64]int64
}

func newPlainZone(t interface{ Fatal(...any) }, name string, fromYear, toYear int) *plainZone {
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	z := &plainZone{zone: zone, from: civil(fromYear, 1, 1).Unix() - 72*3600, first: map[int64]int64{}}
	for at := z.from; at < civil(toYear, 1, 1).Unix()+72*3600; at += 3600 {
		z.offsets = append(z.offsets, int32(z.shows(at)-at))
	}
	return z
}

func civil(year, month, day int) time.Time {
	return time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
}

// shows is what the clock shows at a second, as if it were UTC.
func (z *plainZone) shows(second int64) int64 {
	_, offset := time.Unix(second, 0).In(z.zone).Zone()
	return second + int64(offset)
}

// steady returns the offset that the clock has all the time, if so.
func (z *plainZone) steady(from, to int64) (offset int64, ok bool) {
	a, b := (from-z.from)/3600-1, (to-z.from)/3600+2
	if a < 0 || b > int64(len(z.offsets)) {
		return 0, false
	}
	for _, o := range z.offsets[a:b] {
		if o != z.offsets[a] {
			return 0, false
		}
	}
	return int64(z.offsets[a]), true
}

// transitions are the hours in which the clock was moved.
func (z *plainZone) transitions() []int64 {
	var all []int64
	for i := 1; i < len(z.offsets); i++ {
		if z.offsets[i] != z.offsets[i-1] {
			all = append(all, z.from+int64(i-1)*3600)
		}
	}
	return all
}

// odd is a time that the clock skips or shows twice when it is moved in the hour from at on.
func (z *plainZone) odd(at int64) string {
	moved := at
	for ; moved < at+3600 && z.shows(moved)-moved == z.shows(at)-at; moved++ {
	}
	after, before := z.shows(moved), z.shows(moved-1)+1
	return time.Unix((after+before)/2, 0).UTC().Format("15:04:00")
}

// firstShowing returns the first second at which the clock shows w or later: it looks at the
// clock every minute of two days, and at every second of the minute in which it happens.
func (z *plainZone) firstShowing(w int64) int64 {
	from, to := w-26*3600, w+26*3600
	if offset, ok := z.steady(from, to); ok {
		return w - offset
	}
	if known, ok := z.first[w]; ok {
		return known
	}
	step := int64(60)
	if w%60 != 0 {
		step = 1
	}
	for at := from - from%60; ; at += step {
		if z.shows(at) < w {
			continue
		}
		for at -= step - 1; z.shows(at) < w; at++ {
		}
		z.first[w] = at
		return at
	}
}

// A plan is what a calendar is made of.
type plan struct{ period, anchor string }

// A begun is when a period begins, and its name.
type begun struct {
	second int64
	id     string
}

// begins says whether a period begins on a day, by nothing but the day itself.
func (p plan) begins(day time.Time) bool {
	anchor := civil(1970, 1, 1)
	switch {
	case p.anchor != "":
		anchor, _ = time.Parse(time.DateOnly, p.anchor[:10])
	case p.period == "week":
		return day.Weekday() == time.Monday
	}
	monthly := day.Day() == anchor.Day() || day.Day() < anchor.Day() && day.AddDate(0, 0, 1).Day() == 1
	switch p.period {
	case "week":
		return day.Weekday() == anchor.Weekday()
	case "month":
		return monthly
	case "year":
		return monthly && day.Month() == anchor.Month()
	}
	return true
}

// name is the ID of the period that begins on a day.
func (p plan) name(day time.Time) string {
	if p.anchor != "" {
		return fmt.Sprintf("%04d-%02d-%02d%s/P1%s", day.Year(), day.Month(), day.Day(), strings.TrimSuffix(p.anchor[10:], "T00:00:00"), strings.ToUpper(p.period[:1]))
	}
	switch year, week := day.ISOWeek(); p.period {
	case "week":
		return fmt.Sprintf("%04d-W%02d", year, week)
	case "month":
		return fmt.Sprintf("%04d-%02d", day.Year(), day.Month())
	case "year":
		return fmt.Sprintf("%04d", day.Year())
	}
	return fmt.Sprintf("%04d-%02d-%02d", day.Year(), day.Month(), day.Day())
}

// begun goes from day to day, and lists the periods that begin, without those that are
// over when they begin.
func (p plan) begun(z *plainZone, from, to time.Time) []begun {
	clock := int64(0)
	if len(p.anchor) > 10 {
		at, _ := time.Parse("15:04:05", p.anchor[11:])
		clock = int64(at.Hour()*3600 + at.Minute()*60 + at.Second())
	}
	var all []begun
	for day := from; day.Before(to); day = day.AddDate(0, 0, 1) {
		if !p.begins(day) {
			continue
		}
		at := z.firstShowing(day.Unix() + clock)
		if n := len(all); n > 0 && all[n-1].second == at {
			all = all[:n-1]
		}
		all = append(all, begun{at, p.name(day)})
	}
	return all
}

// wholeHours goes from second to second where the clock is moved, else from minute to
// minute, and lists the hours that begin.
func wholeHours(z *plainZone, from, to time.Time) []begun {
	var all []begun
	step := int64(60)
	if _, ok := z.steady(from.Unix(), to.Unix()); !ok {
		step = 1
	}
	for at := from.Unix(); at < to.Unix(); at += step {
		shown := z.shows(at)
		if shown%3600 != 0 {
			if step == 60 && shown%60 != 0 { // an offset of some seconds
				step, at = 1, at-1
			}
			continue
		}
		all = append(all, begun{at, time.Unix(shown, 0).UTC().Format("2006-01-02T15") + plainOffset(shown-at)})
		step = 60
		if _, ok := z.steady(at, min(at+7200, to.Unix())); !ok {
			step = 1
		}
	}
	return all
}

func plainOffset(seconds int64) string {
	if seconds == 0 {
		return "Z"
	}
	sign := "+"
	if seconds < 0 {
		sign, seconds = "-", -seconds
	}
	out := fmt.Sprintf("%s%02d", sign, seconds/3600)
	if seconds%3600 != 0 {
		out += fmt.Sprintf(":%02d", seconds%3600/60)
	}
	if seconds%60 != 0 {
		out += fmt.Sprintf(":%02d", seconds%60)
	}
	return out
}

// inOrder says that beginnings follow one another, as the oracle's must.
func inOrder(all []begun) bool {
	return slices.IsSortedFunc(all, func(a, b begun) int { return int(a.second - b.second) })
}
