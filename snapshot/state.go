package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/tiergate/tiergate"
)

// State returns the view as a whole revision, which can be read at leisure and again. The
// users it yields are made as they are read.
func (v *View) State() tiergate.Revision {
	return tiergate.Revision{Resume: v.resume, Whole: true, At: v.at, Changes: v.changes()}
}

func (v *View) changes() iter.Seq2[tiergate.Change, error] {
	return func(yield func(tiergate.Change, error) bool) {
		for thing := range v.things() {
			if !yield(tiergate.PutOf(thing), nil) {
				return
			}
		}
	}
}

// things yields everything: flags in the order of their names, which makes the next start
// from what is written of this quicker.
func (v *View) things() iter.Seq[any] {
	return func(yield func(any) bool) {
		for _, kind := range tableKinds {
			for row := range v.table(kind) {
				if !yield(row) {
					return
				}
			}
		}
		for n := range v.allNames() {
			for _, f := range append([]*tiergate.Flag{n.flag}, n.more...) {
				if !yield(f) {
					return
				}
			}
		}
		for i := range v.slots.Len() {
			if team := v.slots.At(i).team; team != nil && !yield(team.Team) {
				return
			}
		}
		v.users.each(func(u userRecord) bool {
			if u.present && !yield(v.userOf(u)) {
				return false
			}
			for m := range v.membersOf(u) {
				if !yield(m) {
					return false
				}
			}
			return true
		})
	}
}

// table yields the rows of a kind that go-memdb holds, in the order of their keys.
func (v *View) table(kind tiergate.Kind) iter.Seq[any] {
	return func(yield func(any) bool) {
		found, err := v.db.Txn(false).Get(string(kind), "id")
		if err != nil {
			panic(fmt.Sprintf("snapshot: bug: all of %s: %v", kind, err))
		}
		for row := found.Next(); row != nil; row = found.Next() {
			if !yield(row) {
				return
			}
		}
	}
}

func (v *View) userOf(u userRecord) *tiergate.User {
	user := &tiergate.User{ID: u.id, Tier: v.words[u.tier]}
	if u.attrs != "" {
		user.Attributes = json.RawMessage(u.attrs)
	}
	return user
}

func (v *View) membersOf(u userRecord) iter.Seq[*tiergate.Member] {
	return func(yield func(*tiergate.Member) bool) {
		for rest := u.packed; rest != ""; {
			slot, role, size := nextMember(rest)
			rest = rest[size:]
			m := &tiergate.Member{TeamID: v.slots.At(int(slot)).id, UserID: u.id, Role: tiergate.Role(v.words[role])}
			if !yield(m) {
				return
			}
		}
	}
}

// Digest is SHA-256 over every thing in the order of kinds and keys: per thing its kind,
// its key and its JSON form with times in UTC, each preceded by its length. Two views have
// one digest if and only if they hold the same, however they came to it. It reads and
// sorts everything: some seconds for a million users.
func (v *View) Digest() [sha256.Size]byte {
	h := sha256.New()
	kinds := append([]tiergate.Kind{tiergate.KindFlag, tiergate.KindMember, tiergate.KindTeam, tiergate.KindUser}, tableKinds...)
	slices.Sort(kinds)
	for _, kind := range kinds {
		switch kind {
		case tiergate.KindFlag:
			v.digestFlags(h)
		case tiergate.KindMember:
			v.digestMembers(h)
		case tiergate.KindTeam:
			v.digestTeams(h)
		case tiergate.KindUser:
			v.digestUsers(h)
		default:
			for row := range v.table(kind) {
				digestThing(h, row)
			}
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func (v *View) digestFlags(h hash.Hash) {
	for _, id := range slices.Sorted(maps.Keys(maps.Collect(v.flags.All()))) {
		f, _ := v.flags.Get(id)
		digestThing(h, f)
	}
}

func (v *View) digestTeams(h hash.Hash) {
	for _, id := range slices.Sorted(maps.Keys(maps.Collect(v.known.All()))) {
		if team := v.Team(id); team != nil {
			digestThing(h, team.Team)
		}
	}
}

func (v *View) digestUsers(h hash.Hash) {
	ids := make([]string, 0, v.count.users)
	v.users.each(func(u userRecord) bool {
		if u.present {
			ids = append(ids, u.id)
		}
		return true
	})
	slices.Sort(ids)
	for _, id := range ids {
		u, _ := v.users.find(id)
		digestThing(h, v.userOf(u))
	}
}

func (v *View) digestMembers(h hash.Hash) {
	keys := make([]string, 0, v.count.members)
	roles := make(map[string]*tiergate.Member, v.count.members)
	v.users.each(func(u userRecord) bool {
		for m := range v.membersOf(u) {
			key := tiergate.MemberKey(m.TeamID, m.UserID)
			keys = append(keys, key)
			roles[key] = m
		}
		return true
	})
	slices.Sort(keys)
	for _, key := range keys {
		digestThing(h, roles[key])
	}
}

func digestThing(h hash.Hash, thing any) {
	kind, key := tiergate.KeyOf(thing)
	for _, part := range [][]byte{[]byte(kind), []byte(key), canonical(thing)} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
}

// canonical returns the JSON form of a thing with its times in UTC. encoding/json sorts
// the keys of maps and makes raw JSON compact. A bad flag may hold raw JSON that is none:
// then its Go form stands for it.
func canonical(thing any) []byte {
	switch t := thing.(type) {
	case *tiergate.Flag:
		c := *t
		c.CreatedAt, c.UpdatedAt = utc(c.CreatedAt), utc(c.UpdatedAt)
		thing = &c
	case *tiergate.Tier:
		c := *t
		c.CreatedAt, c.UpdatedAt = utc(c.CreatedAt), utc(c.UpdatedAt)
		thing = &c
	case *tiergate.Limit:
		c := *t
		c.CreatedAt, c.UpdatedAt = utc(c.CreatedAt), utc(c.UpdatedAt)
		thing = &c
	case *tiergate.Team:
		c := *t
		c.CreatedAt, c.UpdatedAt = utc(c.CreatedAt), utc(c.UpdatedAt)
		thing = &c
	case *tiergate.Key:
		c := *t
		c.ExpiresAt = utc(c.ExpiresAt)
		thing = &c
	case *tiergate.Override:
		c := *t
		c.ExpiresAt = utc(c.ExpiresAt)
		thing = &c
	case *tiergate.Grant:
		c := *t
		c.StartsAt, c.ExpiresAt = utc(c.StartsAt), utc(c.ExpiresAt)
		thing = &c
	case *tiergate.PolicyBundle:
		c := *t
		c.CreatedAt = utc(c.CreatedAt)
		thing = &c
	}
	data, err := json.Marshal(thing)
	if err != nil {
		return fmt.Appendf(nil, "%+v", thing)
	}
	return data
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}
