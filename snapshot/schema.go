package snapshot

import (
	"fmt"
	"maps"

	"github.com/hashicorp/go-memdb"

	"github.com/tiergate/tiergate"
)

// The indexes that tables have besides "id".
const (
	byFeature = "feature" // limits
	byTeam    = "team"    // keys, overrides, grants
	byUser    = "user"    // overrides, grants
)

// schema has one table per kind of thing that go-memdb holds, named for the kind. No index
// but the ids is unique: two rows may share a name in the middle of a revision.
var schema = func() *memdb.DBSchema {
	s := &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{}}
	owned := map[string]*memdb.IndexSchema{
		byTeam: index(byTeam, func(thing any) []string { team, _ := ownerOf(thing); return optional(team) }),
		byUser: index(byUser, func(thing any) []string { _, user := ownerOf(thing); return optional(user) }),
	}
	table(s, tiergate.KindFlagSet, nil)
	table(s, tiergate.KindTier, nil)
	table(s, tiergate.KindLimit, map[string]*memdb.IndexSchema{
		byFeature: index(byFeature, func(thing any) []string { return []string{thing.(*tiergate.Limit).Feature} }),
	})
	table(s, tiergate.KindKey, map[string]*memdb.IndexSchema{
		byTeam: index(byTeam, func(thing any) []string { return optional(thing.(*tiergate.Key).TeamID) }),
	})
	table(s, tiergate.KindOverride, owned)
	table(s, tiergate.KindGrant, owned)
	table(s, tiergate.KindPolicy, nil)
	return s
}()

// tableKinds are the kinds that have a table, in the order of their names. Flags, teams,
// users and memberships, of which there are very many, have maps of their own.
var tableKinds = []tiergate.Kind{
	tiergate.KindFlagSet, tiergate.KindGrant, tiergate.KindKey, tiergate.KindLimit,
	tiergate.KindOverride, tiergate.KindPolicy, tiergate.KindTier,
}

func ownerOf(thing any) (team, user string) {
	switch t := thing.(type) {
	case *tiergate.Override:
		return t.TeamID, t.UserID
	case *tiergate.Grant:
		return t.TeamID, t.UserID
	}
	panic(fmt.Sprintf("snapshot: bug: %T has no owner", thing))
}

func optional(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func table(s *memdb.DBSchema, kind tiergate.Kind, indexes map[string]*memdb.IndexSchema) {
	t := &memdb.TableSchema{Name: string(kind), Indexes: map[string]*memdb.IndexSchema{
		"id": {Name: "id", Unique: true, Indexer: fields(func(thing any) []string {
			_, key := tiergate.KeyOf(thing)
			return []string{key}
		})},
	}}
	maps.Copy(t.Indexes, indexes)
	s.Tables[t.Name] = t
}

func index(name string, of func(any) []string) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, AllowMissing: true, Indexer: fields(of)}
}

// fields is an indexer without reflection: it joins some strings of a row, each ended by
// a zero byte, so that rows are in the order of the strings. A nil list means no entry.
type fields func(any) []string

// FromObject implements memdb.SingleIndexer.
func (f fields) FromObject(thing any) (bool, []byte, error) {
	parts := f(thing)
	return parts != nil, joined(parts), nil
}

// FromArgs implements memdb.Indexer.
func (f fields) FromArgs(args ...any) ([]byte, error) {
	parts := make([]string, len(args))
	for i, a := range args {
		parts[i] = a.(string)
	}
	return joined(parts), nil
}

// PrefixFromArgs implements memdb.PrefixIndexer: the rows whose first strings are args.
func (f fields) PrefixFromArgs(args ...any) ([]byte, error) { return f.FromArgs(args...) }

func joined(parts []string) []byte {
	size := 16 // the id behind a key that is not unique often fits without growing
	for _, p := range parts {
		size += len(p) + 1
	}
	b := make([]byte, 0, size+24)
	for _, p := range parts {
		b = append(append(b, p...), 0)
	}
	return b
}
