package snapshot

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/tiergate/tiergate"
)

// maxBad is how many bad changes are remembered. A source with more of them is not one
// that somebody mends row by row.
const maxBad = 1000

// A BadChange is the newest change of a thing, which could not be applied: what the View
// has under that key, if anything, is the thing as it was before.
type BadChange struct {
	Kind tiergate.Kind
	Key  string
	Err  error // why, with kind and key
}

// Bad lists what could not be applied and was neither put right nor deleted since, by kind
// and key; empty when the View holds what the source does.
func (v *View) Bad() []BadChange {
	return slices.SortedFunc(maps.Values(v.bad), func(a, b BadChange) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
	})
}

// remember keeps what came of a change: the newest one of each thing counts. It returns an
// error when there is more than can be remembered.
func (t *tx) remember(c tiergate.Change, err error) error {
	name := badName{c.Kind, c.Key}
	if _, was := t.bad[name]; err == nil && !was {
		return nil
	}
	if !t.ownBad { // the map is the older View's
		t.bad, t.ownBad = maps.Clone(t.bad), true
	}
	if err == nil {
		delete(t.bad, name)
		return nil
	}
	if t.bad == nil {
		t.bad = map[badName]BadChange{}
	}
	name.key = strings.Clone(name.key) // not to keep alive the line that it was read from
	t.bad[name] = BadChange{Kind: c.Kind, Key: name.key, Err: err}
	if len(t.bad) > maxBad {
		return tiergate.Errorf(tiergate.Invalid, "more than %d changes cannot be applied", maxBad).Because(err)
	}
	return nil
}

type badName struct {
	kind tiergate.Kind
	key  string
}
