package snapshot

import (
	"fmt"
	"strings"

	"github.com/hashicorp/go-memdb"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/pmap"
)

// A Store holds the newest state. One goroutine applies revisions; the Views that it
// hands out are for everybody. The zero Store is empty and ready.
type Store struct {
	view *View
}

// View returns the newest state, nil before the first revision.
func (s *Store) View() *View { return s.view }

// Apply makes the state that r describes and says what is different in it. A change that
// cannot be applied is left out and remembered in the View as bad, until a later one of the
// same thing can be, or a whole state comes: so the next revision goes on top of this one.
// An error changes nothing: the stream of changes broke off, more is bad than can be
// remembered (Invalid), or a revision that is not whole does not follow the newest one of
// the same history (Conflict).
func (s *Store) Apply(r tiergate.Revision) (*View, Delta, error) {
	if err := s.follows(r); err != nil {
		return nil, Delta{}, err
	}
	from := s.view
	if r.Whole {
		from = nil
	}
	tx := begin(from)
	tx.delta.Whole = r.Whole
	for c, err := range r.Changes {
		if err == nil {
			err = tx.remember(c, tx.apply(c))
		}
		if err != nil {
			return nil, Delta{}, fmt.Errorf("apply revision %s: %w", r.Resume.Revision(), err)
		}
	}
	s.view = tx.commit(r)
	return s.view, tx.delta, nil
}

func (s *Store) follows(r tiergate.Revision) error {
	switch {
	case r.Changes == nil:
		return tiergate.Errorf(tiergate.Invalid, "revision %s has no changes to read", r.Resume.Revision())
	case r.Whole:
		return nil
	case s.view == nil:
		return tiergate.Errorf(tiergate.Conflict, "revision %s comes before any whole state", r.Resume.Revision())
	}
	at := s.view.resume
	if r.Resume.Epoch != at.Epoch || r.Resume.Rev != at.Rev+1 {
		return tiergate.Errorf(tiergate.Conflict, "revision %s does not follow %s", r.Resume.Revision(), at.Revision())
	}
	return nil
}

// A Delta says what a revision changed, so that only that is compiled again.
type Delta struct {
	Whole    bool       // everything may be different; the other fields are empty
	Flags    []FlagName // flags that were put, deleted or renamed; a name may come twice
	Sets     []string   // sets whose definition was put or deleted
	Features []string   // features whose limits were put or deleted
	Tiers    bool       // some tier was put or deleted
	Limits   bool       // some limit was put or deleted
	Policy   bool       // the bundle in force is another

	// Users and Teams are whose own rows, memberships or exceptions were put or deleted; a
	// name may come twice. Of more than a few hundred only Many tells.
	Users, Teams []string
	Many         bool
	Keys         bool // some API key was put or deleted
}

// mostNamed is how many users and teams a Delta names.
const mostNamed = 256

// concern remembers that something about a user or a team is different; "" is nobody.
func (d *Delta) concern(user, team string) {
	if d.Many || d.Whole {
		return
	}
	if user != "" {
		d.Users = append(d.Users, strings.Clone(user))
	}
	if team != "" {
		d.Teams = append(d.Teams, strings.Clone(team))
	}
	if len(d.Users)+len(d.Teams) > mostNamed {
		d.Users, d.Teams, d.Many = nil, nil, true
	}
}

// A FlagName names a flag in its set.
type FlagName struct{ Set, Name string }

// A tx is a revision on its way in: the next version of everything, thrown away when an
// error comes.
type tx struct {
	from  *View // nil when it begins from nothing
	db    *memdb.MemDB
	rows  *memdb.Txn
	users *userNode
	edit  *edit
	known *pmap.MapEdit[uint32]
	slots *pmap.ListEdit[slot]
	words []string
	count counts
	keys  *pmap.MapEdit[*tiergate.Key]
	delta Delta

	touched touched

	flags   *pmap.MapEdit[*tiergate.Flag]
	sets    map[string]*pmap.SortedEdit[named] // the sets that a revision that is not whole touched
	arrived []*tiergate.Flag                   // the flags of a whole state
	again   bool                               // and whether one came twice or was deleted again

	bad    map[badName]BadChange
	ownBad bool // bad may be changed in place
}

func begin(from *View) *tx {
	if from == nil {
		from = emptyView()
	}
	// A snapshot of the database is not "primary", which spares the bookkeeping of watchers.
	t := &tx{from: from, db: from.db.Snapshot(), users: from.users, edit: new(edit), words: from.words, count: from.count, bad: from.bad}
	t.rows = t.db.Txn(true)
	t.known, t.slots, t.keys, t.flags = from.known.Edit(), from.slots.Edit(), from.keys.Edit(), from.flags.Edit()
	t.sets = map[string]*pmap.SortedEdit[named]{}
	return t
}

func (t *tx) apply(c tiergate.Change) error {
	var err error
	switch c.Kind {
	case tiergate.KindUser:
		err = t.applyUser(c)
	case tiergate.KindMember:
		err = t.applyMember(c)
	default:
		err = t.applyRow(c)
	}
	if err != nil {
		return fmt.Errorf("%s %.80q: %w", c.Kind, c.Key, err)
	}
	return nil
}

// thing returns what a change puts, nil for a delete; what does not fit its kind and key
// is Invalid.
func thing[T any](c tiergate.Change) (*T, error) {
	if c.Put == nil {
		return nil, nil
	}
	t, ok := c.Put.(*T)
	if !ok || t == nil {
		return nil, tiergate.Errorf(tiergate.Invalid, "the change puts a %T", c.Put)
	}
	if _, key := tiergate.KeyOf(t); key != c.Key {
		return nil, tiergate.Errorf(tiergate.Invalid, "the change puts %.80q", key)
	}
	return t, nil
}

func (t *tx) commit(r tiergate.Revision) *View {
	t.rows.Commit()
	if r.Whole {
		t.edit.trim(t.users)
	}
	v := &View{
		resume: r.Resume, at: r.At, db: t.db, users: t.users, words: t.words, count: t.count,
		known: t.known.Map(), slots: t.slots.List(), keys: t.keys.Map(), names: t.names(), flags: t.flags.Map(),
		tiers: t.from.tiers, policy: t.from.policy, bad: t.bad, exceptions: t.exceptions(t.db.Txn(false)),
	}
	if t.delta.Whole || t.delta.Tiers {
		v.tiers = v.sortedTiers()
	}
	if t.delta.Whole || t.delta.Policy {
		v.policy = v.newestPolicy()
		t.delta.Policy = v.policy != t.from.policy
	}
	if t.delta.Whole {
		t.delta = Delta{Whole: true}
	}
	return v
}
