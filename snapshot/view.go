package snapshot

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/pmap"
)

// A View is the whole configuration at one revision. It is immutable and safe for any
// number of goroutines; callers must not change what it returns.
//
// Team, User, Key, Tiers, Policy, TeamExceptions and UserExceptions do not allocate; the
// others do, most of them ask go-memdb, and they are not for the way of a decision.
type View struct {
	resume tiergate.Resume
	at     time.Time
	db     *memdb.MemDB
	users  *userNode
	words  []string
	known  pmap.Map[uint32] // a team's slot by its id
	slots  pmap.List[slot]
	keys   pmap.Map[*tiergate.Key]
	flags  pmap.Map[*tiergate.Flag] // by id
	names  flagIndex
	tiers  []*tiergate.Tier
	policy *tiergate.PolicyBundle
	count  counts
	bad    map[badName]BadChange

	exceptions exceptional
}

type counts struct{ users, members int }

func emptyView() *View {
	db, err := memdb.NewMemDB(schema)
	if err != nil {
		panic("snapshot: bug: " + err.Error())
	}
	return &View{db: db, words: []string{""}}
}

// Resume returns the place in the history that the view is at.
func (v *View) Resume() tiergate.Resume { return v.resume }

// At returns when the revision was committed, by the source's clock.
func (v *View) At() time.Time { return v.at }

// Users returns the number of users.
func (v *View) Users() int { return v.count.users }

// Members returns the number of memberships.
func (v *View) Members() int { return v.count.members }

// Tiers returns the tiers by rank, the lowest first.
func (v *View) Tiers() []*tiergate.Tier { return v.tiers }

// Policy returns the bundle in force, the one with the highest version, or nil.
func (v *View) Policy() *tiergate.PolicyBundle { return v.policy }

// Key returns an API key by its id and whether there is one.
func (v *View) Key(id string) (*tiergate.Key, bool) { return v.keys.Get(id) }

// A Team is a team as the View holds it: the row, and room for what a reader derives
// from it once per row.
type Team struct {
	*tiergate.Team
	derived atomic.Value
}

// Derived returns what make makes of the row: once, or a few times when goroutines race
// for the first.
func (t *Team) Derived(make func(*tiergate.Team) any) any {
	if d := t.derived.Load(); d != nil {
		return d
	}
	t.derived.CompareAndSwap(nil, make(t.Team))
	return t.derived.Load()
}

// Team returns a team by its id, nil when there is none.
func (v *View) Team(id string) *Team {
	n, ok := v.known.Get(id)
	if !ok {
		return nil
	}
	return v.slots.At(int(n)).team
}

// A User is one user in a View: a small value whose strings are the View's own.
type User struct {
	view *View
	row  userRecord
}

// User returns a user by id and whether there is one.
func (v *View) User(id string) (User, bool) {
	row, ok := v.users.find(id)
	return User{v, row}, ok && row.present
}

// ID returns the user's id.
func (u User) ID() string { return u.row.id }

// Tier returns the user's own tier.
func (u User) Tier() string { return u.view.words[u.row.tier] }

// Attributes returns the user's attributes as a compact JSON object, "" when there are none.
func (u User) Attributes() string { return u.row.attrs }

// Memberships returns the user's teams, to be walked with Next.
func (u User) Memberships() Memberships { return Memberships{u.view, u.row.packed} }

// A Memberships walks over the teams of a user. Memberships in teams that do not exist
// are passed over.
type Memberships struct {
	view *View
	rest string
}

// Next returns the next team and the user's role in it, and false at the end.
func (m *Memberships) Next() (*Team, tiergate.Role, bool) {
	for m.rest != "" {
		slot, role, size := nextMember(m.rest)
		m.rest = m.rest[size:]
		if team := m.view.slots.At(int(slot)).team; team != nil {
			return team, tiergate.Role(m.view.words[role]), true
		}
	}
	return nil, "", false
}

// Set returns the definition of a flag set, nil when it has none; it may have flags all the same.
func (v *View) Set(name string) *tiergate.FlagSet {
	return first[tiergate.FlagSet](v, tiergate.KindFlagSet, name)
}

// Sets yields the definitions of flag sets in the order of their names.
func (v *View) Sets() iter.Seq[*tiergate.FlagSet] {
	return rows[tiergate.FlagSet](v, tiergate.KindFlagSet, "id")
}

// Limits yields the limits on a feature.
func (v *View) Limits(feature string) iter.Seq[*tiergate.Limit] {
	return rows[tiergate.Limit](v, tiergate.KindLimit, byFeature, feature)
}

// AllLimits yields all limits in the order of their ids.
func (v *View) AllLimits() iter.Seq[*tiergate.Limit] {
	return rows[tiergate.Limit](v, tiergate.KindLimit, "id")
}

// Keys yields the API keys of a team.
func (v *View) Keys(teamID string) iter.Seq[*tiergate.Key] {
	return rows[tiergate.Key](v, tiergate.KindKey, byTeam, teamID)
}

// TeamOverrides yields the overrides of a team.
func (v *View) TeamOverrides(id string) iter.Seq[*tiergate.Override] {
	return rows[tiergate.Override](v, tiergate.KindOverride, byTeam, id)
}

// UserOverrides yields the overrides of a user.
func (v *View) UserOverrides(id string) iter.Seq[*tiergate.Override] {
	return rows[tiergate.Override](v, tiergate.KindOverride, byUser, id)
}

// TeamGrants yields the grants of a team.
func (v *View) TeamGrants(id string) iter.Seq[*tiergate.Grant] {
	return rows[tiergate.Grant](v, tiergate.KindGrant, byTeam, id)
}

// UserGrants yields the grants of a user.
func (v *View) UserGrants(id string) iter.Seq[*tiergate.Grant] {
	return rows[tiergate.Grant](v, tiergate.KindGrant, byUser, id)
}

// rows yields the rows that an index finds. Anything that go-memdb could complain about
// is a bug here.
func rows[T any](v *View, kind tiergate.Kind, index string, args ...any) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		found, err := v.db.Txn(false).Get(string(kind), index, args...)
		if err != nil {
			panic(fmt.Sprintf("snapshot: bug: %s by %s: %v", kind, index, err))
		}
		for row := found.Next(); row != nil; row = found.Next() {
			if !yield(row.(*T)) {
				return
			}
		}
	}
}

func first[T any](v *View, kind tiergate.Kind, id string) *T {
	row, err := v.db.Txn(false).First(string(kind), "id", id)
	if err != nil {
		panic(fmt.Sprintf("snapshot: bug: %s by id: %v", kind, err))
	}
	t, _ := row.(*T)
	return t
}

func (v *View) sortedTiers() []*tiergate.Tier {
	return slices.SortedFunc(rows[tiergate.Tier](v, tiergate.KindTier, "id"), func(a, b *tiergate.Tier) int {
		return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.Key, b.Key))
	})
}

func (v *View) newestPolicy() *tiergate.PolicyBundle {
	var newest *tiergate.PolicyBundle
	for b := range rows[tiergate.PolicyBundle](v, tiergate.KindPolicy, "id") {
		if newest == nil || b.Version > newest.Version {
			newest = b
		}
	}
	return newest
}
