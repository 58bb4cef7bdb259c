package flagdapi

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
)

const (
	// A client that lost its stream keeps answers again before it has the next one, for five
	// seconds or as long as it is told to wait. So a stream begins with what changed recently.
	recently = 30 * time.Second
	// atLeast is recently for more flags than can be named, where the stream must end, so that
	// those who come back soon do not lose it again and again.
	atLeast = 10 * time.Second
	// rebegin is for how long the streams that begin may be told the same.
	rebegin = time.Second
	// missed is how long a flag or a set has to be gone before nobody can be missing that: a stream
	// is told of it, or begins anew, in less time.
	missed = 3 * time.Minute
)

// known knows the flags that clients may keep answers about: their names, so that all can be
// named when a revision leaves none as it was, also those that it deletes, and what changed
// recently. Safe for concurrent use.
type known struct {
	watcher tiergate.Lister
	asked   atomic.Pointer[[]string] // the sets that callers ask about, in order
	streams atomic.Int64

	mu     sync.Mutex
	at     tiergate.Resume    // the state that sets are of
	sets   map[string]*listed // that a stream tells of or callers have asked about
	groups map[string]*group  // of the streams that there are
}

// A group are the streams that tell of the same sets: what is found out for one is told by all.
type group struct {
	chosen  []string // the sets; nil means those that callers ask about
	streams int

	to   tiergate.Resume // the state in force, which told leads to from others
	told map[tiergate.Resume]*changes

	late   *changes // what streams begin with
	lateAt time.Time
}

func (g *group) name() string { return strings.Join(g.chosen, "\n") }

// enter adds a stream of the sets that it has chosen, nil for none, to its group.
func (k *known) enter(chosen []string) *group {
	k.streams.Add(1)
	k.mu.Lock()
	defer k.mu.Unlock()
	g := &group{chosen: chosen}
	if same := k.groups[g.name()]; same != nil {
		g = same
	} else {
		if k.groups == nil {
			k.groups = map[string]*group{}
		}
		k.groups[g.name()] = g
		for _, set := range chosen {
			k.list(set).groups++
		}
	}
	g.streams++
	return g
}

// leave takes a stream out of its group. What only they needed is forgotten with the last one.
func (k *known) leave(g *group) {
	k.streams.Add(-1)
	k.mu.Lock()
	defer k.mu.Unlock()
	if g.streams--; g.streams > 0 {
		return
	}
	delete(k.groups, g.name())
	for _, set := range g.chosen {
		l := k.sets[set]
		l.groups--
		k.drop(set, l)
	}
}

// asks remembers that a caller asks about a set, since the stream of the same client may not say
// so, and is to begin with what has changed by then.
func (k *known) asks(set string, gen tiergate.Generation) {
	if _, found := slices.BinarySearch(k.setsOf(nil), set); found || !gen.HasSet(set) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, found := slices.BinarySearch(k.setsOf(nil), set); found { // meanwhile
		return
	}
	set = strings.Clone(set)
	k.list(set).asked = true
	all := append(k.stillThere(gen), set)
	slices.Sort(all)
	k.asked.Store(&all)
	if g := k.groups[""]; g != nil {
		g.told, g.late = nil, nil
	}
}

// stillThere returns the sets that callers ask about, without those that have been gone for long.
func (k *known) stillThere(gen tiergate.Generation) []string {
	now := time.Now()
	return slices.DeleteFunc(slices.Clone(k.setsOf(nil)), func(set string) bool {
		if set == tiergate.DefaultSet {
			return false
		}
		l := k.sets[set]
		switch {
		case gen.HasSet(set):
			l.gone = time.Time{}
		case l.gone.IsZero():
			l.gone = now
		case now.Sub(l.gone) > missed:
			l.asked = false
			k.drop(set, l)
			return true
		}
		return false
	})
}

var onlyDefault = []string{tiergate.DefaultSet}

// setsOf returns the sets that a stream tells of.
func (k *known) setsOf(chosen []string) []string {
	if chosen != nil {
		return chosen
	}
	if all := k.asked.Load(); all != nil {
		return *all
	}
	return onlyDefault
}

func everyone(set string) tiergate.Audience { return tiergate.Audience{Set: set, Everyone: true} }

// list returns a set whose names are known from now on.
func (k *known) list(set string) *listed {
	l := k.sets[set]
	if l == nil {
		if k.sets == nil {
			k.sets = map[string]*listed{}
		}
		l = &listed{}
		k.sets[set] = l
		l.look(k.watcher.Names(set), time.Now())
	}
	return l
}

// drop forgets a set that nobody needs.
func (k *known) drop(set string, l *listed) {
	if l.groups == 0 && !l.asked && set != tiergate.DefaultSet {
		delete(k.sets, set)
	}
}

// answered takes in that answers are of another state from now on.
func (k *known) answered() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.advance()
}

// advance makes all that is known that of the state in force, and returns what is closed when
// there is another.
func (k *known) advance() (more <-chan struct{}) {
	d, more := k.watcher.Since(k.at, everyone(tiergate.DefaultSet))
	if d.To == k.at {
		return more
	}
	now, gen := time.Now(), k.watcher.Generation()
	k.list(tiergate.DefaultSet)
	for set, l := range k.sets {
		if gen.HasSet(set) {
			l.gone = time.Time{}
		}
		of := d
		if set != tiergate.DefaultSet {
			of, _ = k.watcher.Since(k.at, everyone(set)) // it may be of a later state, and then tells more
		}
		if k.at == (tiergate.Resume{}) {
			l.look(k.watcher.Names(set), now) // nobody was answered about anything before
		} else {
			l.take(&of, k.watcher.Names(set), now)
		}
	}
	k.at = d.To
	return more
}

// begin returns the state in force, zero before the first, what is closed when there is another,
// and what a stream that begins has to tell.
func (k *known) begin(g *group) (at tiergate.Resume, more <-chan struct{}, late *changes) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if more = k.advance(); k.at == (tiergate.Resume{}) {
		return k.at, more, nil
	}
	if now := time.Now(); g.late == nil || g.late.to != k.at || now.Sub(g.lateAt) >= rebegin {
		g.late, g.lateAt = k.lately(g, now), now
	}
	return k.at, more, g.late
}

// lately returns what changed recently.
func (k *known) lately(g *group, now time.Time) (c *changes) {
	for _, within := range [...]time.Duration{recently, atLeast} {
		c = k.collect(g, func(c *changes, set string) { c.addLate(k.sets[set], now.Add(-within)) })
		if !c.many {
			break
		}
	}
	return c
}

// since returns what is different between a state and the one in force, and what is closed when
// there is another.
func (k *known) since(from tiergate.Resume, g *group) (c *changes, more <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	more = k.advance()
	if g.to != k.at || g.told == nil {
		g.to, g.told = k.at, map[tiergate.Resume]*changes{}
	}
	if c = g.told[from]; c == nil {
		now := time.Now()
		c = k.collect(g, func(c *changes, set string) {
			d, _ := k.watcher.Since(from, everyone(set)) // it may be of a later state, and then tells more
			c.add(k.sets[set], &d, now)
		})
		g.told[from] = c
	}
	return c, more
}

// collect puts together what is to be told of the sets of a group.
func (k *known) collect(g *group, add func(c *changes, set string)) *changes {
	c := &changes{to: k.at}
	for _, set := range k.setsOf(g.chosen) {
		add(c, set)
	}
	c.encode()
	return c
}

// nextTurn is when time alone changes answers about a group's sets next; the zero time when it
// does not, or always may.
func (k *known) nextTurn(g *group, now time.Time) (next time.Time) {
	gen := k.watcher.Generation()
	if gen == nil {
		return next
	}
	for _, set := range k.setsOf(g.chosen) {
		if turn := server.NextTurn(gen.Steps(set), now); next.IsZero() || !turn.IsZero() && turn.Before(next) {
			next = turn
		}
	}
	return next
}
