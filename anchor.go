package tiergate

import "time"

// ParseAnchor reads a Limit.Anchor, "2026-01-31" or "2026-01-31T15:00:00" of the years 1 to
// 9999. The result is what the clock on the wall shows, in UTC only because it has no zone.
func ParseAnchor(s string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04:05"} {
		t, err := time.Parse(layout, s)
		if err == nil && t.Format(layout) == s && t.Year() >= 1 {
			return t, nil
		}
	}
	return time.Time{}, FieldErrorf("anchor", "anchor %.40q is neither a day such as 2026-01-31 nor a time such as 2026-01-31T15:00:00", s)
}

// LoadZone returns a Limit.Zone: the IANA time zone of that name, "" being UTC. "Local" is
// none, because it is another one on each machine.
func LoadZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, FieldErrorf("zone", "zone %.64q is not an IANA time zone", name)
	}
	return zone, nil
}
