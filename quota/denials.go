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
	mu sync.Mutex
	// count is by a Denial with Count 0 of its own memory. It holds pointers, because adding to a
	// number would put the key that it is added under in the place of the one that is there, and
	// that may be a request's.
	count map[tiergate.Denial]*int64
}

func (d *denials) add(t *Take, reason tiergate.UseReason, now time.Time) {
	key := tiergate.Denial{Hour: now.UTC().Truncate(time.Hour), TeamID: t.TeamID, UserID: t.UserID, Feature: t.Feature, Reason: reason}
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.count[key]; n != nil {
		*n++
		return
	}
	if len(d.count) >= maxDenials {
		key.UserID = ""
		if d.count[key] == nil && len(d.count) >= 2*maxDenials {
			key.TeamID = ""
		}
	}
	*d.of(key)++
}

// of returns the number of a kind of denials, a new one when there is none.
func (d *denials) of(key tiergate.Denial) *int64 {
	if n := d.count[key]; n != nil {
		return n
	}
	if d.count == nil {
		d.count = map[tiergate.Denial]*int64{}
	}
	key.TeamID, key.UserID, key.Feature = strings.Clone(key.TeamID), strings.Clone(key.UserID), strings.Clone(key.Feature)
	n := new(int64)
	d.count[key] = n
	return n
}

// drain returns what was added up, and begins anew.
func (d *denials) drain() []tiergate.Denial {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []tiergate.Denial
	for key, n := range d.count {
		key.Count = *n
		out = append(out, key)
	}
	d.count = nil
	return out
}

// restore adds what could not be written down.
func (d *denials) restore(all []tiergate.Denial) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range all {
		n := one.Count
		one.Count = 0
		*d.of(one) += n
	}
}
