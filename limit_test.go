package tiergate_test

import (
	"errors"
	"testing"

	"github.com/tiergate/tiergate"
)

func fieldOf(err error) string {
	if e, ok := errors.AsType[*tiergate.Error](err); ok && e.Code == tiergate.Invalid {
		return e.Field
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// A limit that can never be kept is refused, and the error names the field.
func TestLimit_Validate(t *testing.T) {
	const largest = tiergate.MaxAmount
	for name, c := range map[string]struct {
		change func(*tiergate.Limit)
		field  string
	}{
		"as it is":                {func(*tiergate.Limit) {}, ""},
		"an anchored day":         {func(l *tiergate.Limit) { l.Anchor = "2026-01-31" }, ""},
		"an anchored time":        {func(l *tiergate.Limit) { l.Anchor = "2026-01-31T15:00:00" }, ""},
		"no such anchor":          {func(l *tiergate.Limit) { l.Anchor = "2026-02-29" }, "anchor"},
		"an anchor with a zone":   {func(l *tiergate.Limit) { l.Anchor = "2026-01-31T15:00:00+01:00" }, "anchor"},
		"the year 0":              {func(l *tiergate.Limit) { l.Anchor = "0000-01-31" }, "anchor"},
		"an anchored lifetime":    {func(l *tiergate.Limit) { l.Period, l.Anchor = "lifetime", "2026-01-31" }, "anchor"},
		"an anchored rate":        {func(l *tiergate.Limit) { l.Kind, l.Period, l.Anchor = tiergate.Rate, "second", "2026-01-31" }, "anchor"},
		"an anchored gauge":       {func(l *tiergate.Limit) { l.Kind, l.Period, l.Anchor = tiergate.Gauge, "", "2026-01-31" }, "anchor"},
		"a zone":                  {func(l *tiergate.Limit) { l.Zone = "Europe/Berlin" }, ""},
		"the machine's zone":      {func(l *tiergate.Limit) { l.Zone = "Local" }, "zone"},
		"no such zone":            {func(l *tiergate.Limit) { l.Zone = "Mars/Base" }, "zone"},
		"a rate's period":         {func(l *tiergate.Limit) { l.Period = "second" }, "period"},
		"a quota with bursts":     {func(l *tiergate.Limit) { l.Bursts = map[string]int64{"pro": 1} }, "bursts.pro"},
		"the largest amount":      {func(l *tiergate.Limit) { l.Amounts = map[string]*int64{"pro": new(largest)} }, ""},
		"a larger amount":         {func(l *tiergate.Limit) { l.Amounts = map[string]*int64{"pro": new(largest + 1)} }, "amounts.pro"},
		"a negative cost":         {func(l *tiergate.Limit) { l.Cost = -1 }, "cost"},
		"deny":                    {func(l *tiergate.Limit) { l.OnUnavailable = "deny" }, ""},
		"allow the most":          {func(l *tiergate.Limit) { l.OnUnavailable = "allowUpTo(9007199254740992)" }, ""},
		"allow more than that":    {func(l *tiergate.Limit) { l.OnUnavailable = "allowUpTo(9007199254740993)" }, "onUnavailable"},
		"allow none":              {func(l *tiergate.Limit) { l.OnUnavailable = "allowUpTo(0)" }, "onUnavailable"},
		"allow less than nothing": {func(l *tiergate.Limit) { l.OnUnavailable = "allowUpTo(-1)" }, "onUnavailable"},
		"allow who knows what":    {func(l *tiergate.Limit) { l.OnUnavailable = "allowUpTo()" }, "onUnavailable"},
		"allow in other letters":  {func(l *tiergate.Limit) { l.OnUnavailable = "Allow" }, "onUnavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			l := tiergate.Limit{Key: "exports", Feature: "exports", Kind: tiergate.Quota, Scope: "team", Period: "month"}
			c.change(&l)
			if got := fieldOf(l.Validate()); got != c.field {
				t.Errorf("the field at fault is %q, want %q", got, c.field)
			}
		})
	}
}

// A period that a limit cannot have is refused with those that it can have.
func TestLimit_Validate_tells_the_periods(t *testing.T) {
	for _, c := range []struct {
		kind   tiergate.LimitKind
		period string
		want   string
	}{
		{tiergate.Quota, "fortnight", `period "fortnight" of a quota is none of hour, day, week, month, year, lifetime`},
		{tiergate.Quota, "", `period "" of a quota is none of hour, day, week, month, year, lifetime`},
		{tiergate.Rate, "hour", `period "hour" of a rate is none of second, minute`},
		{tiergate.Gauge, "day", "a gauge limit has no period"},
		{tiergate.Concurrency, "day", "a concurrency limit has no period"},
	} {
		l := tiergate.Limit{Key: "k", Feature: "f", Kind: c.kind, Scope: "team", Period: c.period}
		if err := l.Validate(); err == nil || err.Error() != c.want {
			t.Errorf("a %s by the %q: %v, want %s", c.kind, c.period, err, c.want)
		}
	}
}

// What a limit says about the time when nobody can be asked is read strictly.
func TestParseFallback(t *testing.T) {
	for text, want := range map[string]tiergate.Fallback{
		"": {}, "deny": {}, "allow": {Allow: true}, "allowUpTo(1)": {UpTo: 1}, "allowUpTo(9007199254740992)": {UpTo: tiergate.MaxAmount},
	} {
		if got, err := tiergate.ParseFallback(text); err != nil || got != want {
			t.Errorf("%q is %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"allowUpTo(0)", "allowUpTo(-5)", "allowUpTo(+5)", "allowUpTo(05)", "allowUpTo( 5)", "allowUpTo(5", "allowUpTo5)", "allowUpTo(5))",
		"allowUpTo(5.0)", "allowUpTo(1e3)", "allowUpTo(9007199254740993)", "allowUpTo(99999999999999999999)", "allowupto(5)", "ALLOW", " allow", "deny ",
	} {
		if got, err := tiergate.ParseFallback(text); fieldOf(err) != "onUnavailable" || got != (tiergate.Fallback{}) {
			t.Errorf("%q is %+v, %v, want an error about onUnavailable", text, got, err)
		}
	}
}
