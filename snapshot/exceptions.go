package snapshot

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/pmap"
)

// Exceptions are the overrides and grants of one team or one user. They are immutable. Nil is
// somebody without any.
type Exceptions struct {
	// Overrides are by the key of their limit; of one limit, which should have one only,
	// that which ends first comes first, then the lowest id.
	Overrides []*tiergate.Override
	// Grants are by the key of their limit; of one limit in the order in which they are
	// spent: the lowest priority, then that which ends first, then the lowest id.
	Grants []*tiergate.Grant
}

// Of returns what there is about one limit, in the order of x. It does not allocate.
func (x *Exceptions) Of(limit string) ([]*tiergate.Override, []*tiergate.Grant) {
	if x == nil {
		return nil, nil
	}
	return about(x.Overrides, limit, func(o *tiergate.Override) string { return o.LimitKey }),
		about(x.Grants, limit, func(g *tiergate.Grant) string { return g.LimitKey })
}

// about returns the run of rows about a limit.
func about[T any](rows []*T, limit string, key func(*T) string) []*T {
	from := 0
	if len(rows) > 8 {
		from = sort.Search(len(rows), func(i int) bool { return key(rows[i]) >= limit })
	}
	for from < len(rows) && key(rows[from]) < limit {
		from++
	}
	to := from
	for to < len(rows) && key(rows[to]) == limit {
		to++
	}
	return rows[from:to]
}

// TeamExceptions returns the exceptions of a team, nil when it has none. It does not allocate.
func (v *View) TeamExceptions(id string) *Exceptions { return v.exceptions.teams.of(id) }

// UserExceptions returns the exceptions of a user, nil when there are none. It does not allocate.
func (v *View) UserExceptions(id string) *Exceptions { return v.exceptions.users.of(id) }

// exceptional holds the exceptions of all who have any, by id.
type exceptional struct{ teams, users exceptionsOf }

type exceptionsOf struct{ pmap.Map[*Exceptions] }

func (m exceptionsOf) of(id string) *Exceptions {
	if m.Len() == 0 { // most often nobody has any
		return nil
	}
	x, _ := m.Get(id)
	return x
}

// touched are those whose exceptions a revision changed, by team or user.
type touched struct{ teams, users map[string]bool }

// note remembers whose an override or grant is.
func (t *touched) note(team, user string) {
	if t.teams == nil {
		t.teams, t.users = map[string]bool{}, map[string]bool{}
	}
	if team != "" {
		t.teams[team] = true
	}
	if user != "" {
		t.users[user] = true
	}
}

func noted[T any](t *tx) func(old, put *T) {
	return func(old, put *T) {
		for _, row := range []*T{old, put} {
			if row != nil {
				team, user := ownerOf(any(row))
				t.touched.note(team, user)
				t.delta.concern(user, team)
			}
		}
	}
}

// exceptions returns everybody's exceptions as the revision leaves them: those of whom it
// touched are read anew, once, and all others stay.
func (t *tx) exceptions(rows *memdb.Txn) exceptional {
	from := t.from.exceptions
	return exceptional{
		teams: exceptionsOf{reread(from.teams.Map, rows, byTeam, t.touched.teams)},
		users: exceptionsOf{reread(from.users.Map, rows, byUser, t.touched.users)},
	}
}

func reread(from pmap.Map[*Exceptions], rows *memdb.Txn, index string, ids map[string]bool) pmap.Map[*Exceptions] {
	if len(ids) == 0 {
		return from
	}
	next := from.Edit()
	for id := range ids {
		if x := readExceptions(rows, index, id); x != nil {
			next.Set(id, x)
		} else {
			next.Delete(id)
		}
	}
	return next.Map()
}

func readExceptions(rows *memdb.Txn, index, id string) *Exceptions {
	x := &Exceptions{
		Overrides: owned[tiergate.Override](rows, tiergate.KindOverride, index, id),
		Grants:    owned[tiergate.Grant](rows, tiergate.KindGrant, index, id),
	}
	if len(x.Overrides)+len(x.Grants) == 0 {
		return nil
	}
	slices.SortFunc(x.Overrides, func(a, b *tiergate.Override) int {
		return cmp.Or(cmp.Compare(a.LimitKey, b.LimitKey), compareEnds(a.ExpiresAt, b.ExpiresAt), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(x.Grants, func(a, b *tiergate.Grant) int {
		return cmp.Or(cmp.Compare(a.LimitKey, b.LimitKey), cmp.Compare(a.Priority, b.Priority),
			compareEnds(a.ExpiresAt, b.ExpiresAt), cmp.Compare(a.ID, b.ID))
	})
	return x
}

func owned[T any](rows *memdb.Txn, kind tiergate.Kind, index, id string) []*T {
	found, err := rows.Get(string(kind), index, id)
	if err != nil {
		panic(fmt.Sprintf("snapshot: bug: %s by %s: %v", kind, index, err))
	}
	var out []*T
	for row := found.Next(); row != nil; row = found.Next() {
		out = append(out, row.(*T))
	}
	return slices.Clip(out)
}

// compareEnds orders by when things end; zero is never, and last.
func compareEnds(a, b time.Time) int {
	switch {
	case a.IsZero() && b.IsZero():
		return 0
	case a.IsZero():
		return 1
	case b.IsZero():
		return -1
	}
	return a.Compare(b)
}
