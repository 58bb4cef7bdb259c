package quota

import (
	"strings"
	"sync"
	"time"

	"github.com/tiergate/tiergate"
)

// maxDenials is how many kinds of denials are told apart before they are written down.
// Beyond it users are not told apart.
const maxDenials = 10_000

// denials adds up what was denied until it goes into the usage log. Its zero value is empty.
type denials struct {
	mu    sync.Mutex
	count map[tiergate.Denial]int64 // by a Denial with Count 0
}

func (d *denials) add(t *Take, reason tiergate.UseReason, now time.Time) {
	key := tiergate.Denial{Hour: now.UTC().Truncate(time.Hour), TeamID: t.TeamID, UserID: t.UserID, Feature: t.Feature, Reason: reason}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.count[key]; known {
		d.count[key]++
		return
	}
	if d.count == nil {
		d.count = map[tiergate.Denial]int64{}
	}
	if len(d.count) >= maxDenials {
		key.UserID = ""
		if _, known := d.count[key]; !known && len(d.count) >= 2*maxDenials {
			key.TeamID = ""
		}
	}
	key.TeamID, key.UserID, key.Feature = strings.Clone(key.TeamID), strings.Clone(key.UserID), strings.Clone(key.Feature)
	d.count[key]++
}

// drain returns what was added up, and begins anew.
func (d *denials) drain() []tiergate.Denial {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []tiergate.Denial
	for key, n := range d.count {
		key.Count = n
		out = append(out, key)
	}
	d.count = nil
	return out
}

// restore adds what could not be written down.
func (d *denials) restore(all []tiergate.Denial) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.count == nil {
		d.count = map[tiergate.Denial]int64{}
	}
	for _, one := range all {
		n := one.Count
		one.Count = 0
		d.count[one] += n
	}
}
