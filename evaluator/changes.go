package evaluator

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/snapshot"
)

const (
	// keptEditions is how many generations back a follower may be and still be told in particular.
	keptEditions = 256
	// mostChanged is how many flags a Difference names; beyond, all of the set count as changed.
	mostChanged = 4096
)

// A history knows what the last generations changed.
type history struct {
	mu    sync.RWMutex
	kept  []edition      // the oldest first, each on top of the one before
	more  chan struct{}  // closed when the next one comes
	owed  snapshot.Delta // what was applied since the newest one, by one goroutine
	since *Generation    // the newest one; nil before the first
}

// An edition is what one generation changed.
type edition struct {
	from, to tiergate.Resume
	all      bool                      // for everybody, in every set
	sets     map[string]bool           // sets of which every flag may be different
	flags    map[snapshot.FlagName]was // flags that are different
	users    map[string]bool
	teams    map[string]bool
	many     bool // users and teams, too many to name
	keys     bool
}

// was says whether a flag was there before, and is there after.
type was struct{ before, after bool }

// changed remembers what a revision changed, whether it came into force or not.
func (h *history) changed(d snapshot.Delta) {
	o := &h.owed
	if o.Whole = o.Whole || d.Whole; o.Whole {
		h.owed = snapshot.Delta{Whole: true, Keys: true}
		return
	}
	o.Tiers, o.Limits, o.Policy = o.Tiers || d.Tiers, o.Limits || d.Limits, o.Policy || d.Policy
	o.Many, o.Keys = o.Many || d.Many, o.Keys || d.Keys
	o.Flags, o.Sets = append(slices.Clip(o.Flags), d.Flags...), append(slices.Clip(o.Sets), d.Sets...)
	o.Users, o.Teams = append(slices.Clip(o.Users), d.Users...), append(slices.Clip(o.Teams), d.Teams...)
	if len(o.Flags)+len(o.Sets) > mostChanged { // so much while a revision is refused
		h.owed = snapshot.Delta{Whole: true, Keys: true}
	}
	if len(o.Users)+len(o.Teams) > mostChanged {
		o.Users, o.Teams, o.Many = nil, nil, true
	}
}

// inForce adds the edition of a generation that has come into force, and wakes who waits.
func (h *history) inForce(g *Generation) {
	e := editionOf(h.since, g, h.owed)
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.kept) == keptEditions {
		h.kept = slices.Delete(h.kept, 0, 1)
	}
	h.kept = append(h.kept, e)
	h.owed, h.since = snapshot.Delta{}, g
	close(h.more)
	h.more = make(chan struct{})
}

func editionOf(before, after *Generation, d snapshot.Delta) edition {
	e := edition{to: after.Resume(), keys: d.Keys, many: d.Many}
	// Limits count because a policy may read their definitions to decide on access.
	if before == nil || d.Whole || d.Policy || d.Tiers || d.Limits || len(d.Flags) > mostChanged {
		e.all, e.many = true, d.Many || d.Whole
		if before != nil {
			e.from = before.Resume()
		}
		return e
	}
	e.from = before.Resume()
	e.sets, e.users, e.teams = setOf(d.Sets), setOf(d.Users), setOf(d.Teams)
	e.flags = make(map[snapshot.FlagName]was, len(d.Flags))
	for _, n := range d.Flags {
		_, b := before.flag(n.Set, n.Name)
		_, a := after.flag(n.Set, n.Name)
		e.flags[n] = was{b, a}
	}
	return e
}

func setOf(names []string) map[string]bool {
	if len(names) == 0 {
		return nil
	}
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[n] = true
	}
	return set
}

// Since says what is different for a between from and the generation in force.
func (e *Engine) Since(from tiergate.Resume, a tiergate.Audience) (tiergate.Difference, <-chan struct{}) {
	a.Set = cmp.Or(a.Set, tiergate.DefaultSet)
	h := &e.history
	h.mu.RLock()
	defer h.mu.RUnlock()
	if len(h.kept) == 0 {
		return tiergate.Difference{}, h.more
	}
	g := h.since
	d := tiergate.Difference{To: g.Resume()}
	if from == d.To {
		return d, h.more
	}
	at := slices.IndexFunc(h.kept, func(e edition) bool { return e.from == from })
	if at < 0 || from == (tiergate.Resume{}) {
		d.All, d.Keys = true, true
		return d, h.more
	}
	changed := map[string]was{}
	for _, e := range h.kept[at:] {
		e.tell(&d, changed, g, a)
	}
	if len(changed) > mostChanged {
		d.All = true
	}
	if !d.All {
		d.Flags = flagChanges(changed)
	}
	return d, h.more
}

// Names yields the names of the flags of a set in force.
func (e *Engine) Names(set string) iter.Seq[string] {
	return func(yield func(string) bool) {
		g := e.current.Load()
		if g == nil {
			return
		}
		s, ok := g.set(set)
		if !ok {
			return
		}
		for name := range s.order.All() {
			if !yield(name) {
				return
			}
		}
	}
}

// tell adds what e means to an audience to d, and its flags to changed.
func (e *edition) tell(d *tiergate.Difference, changed map[string]was, g *Generation, a tiergate.Audience) {
	d.All = d.All || e.all || e.sets[a.Set]
	d.Keys = d.Keys || e.keys
	d.Subject = d.Subject || e.concerns(g, a)
	if d.All {
		return
	}
	for n, w := range e.flags {
		if n.Set != a.Set {
			continue
		}
		if earlier, ok := changed[n.Name]; ok {
			w.before = earlier.before
		}
		changed[n.Name] = w
	}
}

// concerns reports whether e changed something about the audience. Who left a team is
// concerned as a user.
func (e *edition) concerns(g *Generation, a tiergate.Audience) bool {
	switch {
	case e.many:
		return true
	case a.Everyone:
		return len(e.users)+len(e.teams) > 0
	case a.UserID != "" && e.users[a.UserID], a.TeamID != "" && e.teams[a.TeamID]:
		return true
	case len(e.teams) == 0 || a.UserID == "":
		return false
	}
	for team := range e.teams {
		if g.view.Team(team) == nil { // who was in it is not known any more
			return true
		}
	}
	user, known := g.view.User(a.UserID)
	if !known {
		return false
	}
	for all := user.Memberships(); ; {
		team, _, ok := all.Next()
		if !ok {
			return false
		}
		if e.teams[team.ID] {
			return true
		}
	}
}

func flagChanges(changed map[string]was) []tiergate.FlagChange {
	var all []tiergate.FlagChange
	for _, name := range slices.Sorted(maps.Keys(changed)) {
		kind := tiergate.FlagUpdated
		switch w := changed[name]; {
		case !w.after:
			kind = tiergate.FlagDeleted
		case !w.before:
			kind = tiergate.FlagWritten
		}
		all = append(all, tiergate.FlagChange{Name: name, Kind: kind})
	}
	return all
}
