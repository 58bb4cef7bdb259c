package snapshot

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"

	"github.com/tiergate/tiergate"
)

// A slot is where memberships find their team by a small number. A slot outlives its
// team, whose memberships may outlive it too, until the next whole state.
type slot struct {
	id   string
	team *Team // nil while there is no such team
}

// slotOf returns the number of a team's slot, making one for a team not heard of.
func (t *tx) slotOf(teamID string) uint32 {
	if n, ok := t.known.Get(teamID); ok {
		return n
	}
	teamID = strings.Clone(teamID) // not to keep alive the line that it was read from
	n := uint32(t.slots.Append(slot{id: teamID}))
	t.known.Set(teamID, n)
	return n
}

func (t *tx) setSlot(teamID string, team *Team) {
	n := t.slotOf(teamID)
	t.slots.Set(int(n), slot{id: t.slots.At(int(n)).id, team: team})
}

// word returns the number of a tier or role in the table of words, which only grows: it
// holds a handful.
func (t *tx) word(s string) uint32 {
	if i := slices.Index(t.words, s); i >= 0 {
		return uint32(i)
	}
	t.words = append(slices.Clip(t.words), strings.Clone(s))
	return uint32(len(t.words) - 1)
}

func (t *tx) applyUser(c tiergate.Change) error {
	put, err := thing[tiergate.User](c)
	if err != nil {
		return err
	}
	u, found := t.users.find(c.Key)
	switch {
	case put == nil && (!found || !u.present):
		return nil
	case put == nil:
		t.count.users--
		u.present, u.tier, u.attrs = false, 0, ""
	default:
		attrs, err := compactObject(put.Attributes)
		if err != nil {
			return err
		}
		if !u.present {
			t.count.users++
		}
		u.id, u.present, u.tier, u.attrs = put.ID, true, t.word(put.Tier), attrs
	}
	t.putUser(u)
	return nil
}

// compactObject returns attributes as compact JSON: "" for none, null and {}.
func compactObject(raw json.RawMessage) (string, error) {
	switch string(raw) {
	case "", "null", "{}":
		return "", nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil || b.Bytes()[0] != '{' {
		return "", tiergate.FieldErrorf("attributes", "attributes are not a JSON object")
	}
	return b.String(), nil
}

// putUser stores a record, or removes it when nothing is left in it.
func (t *tx) putUser(u userRecord) {
	t.delta.concern(u.id, "")
	t.users = t.edit.put(t.users, userHash(u.id), u, !u.present && u.members == 0, 0)
}

func (t *tx) applyMember(c tiergate.Change) error {
	put, err := thing[tiergate.Member](c)
	if err != nil {
		return err
	}
	team, user, ok := strings.Cut(c.Key, "\n")
	if !ok {
		return tiergate.Errorf(tiergate.Invalid, "the key of a membership is not two ids")
	}
	u, found := t.users.find(user)
	if _, heard := t.known.Get(team); put == nil && (!found || !heard) {
		return nil
	}
	n := t.slotOf(team)
	packed, members, was := u.without(n)
	t.count.members += members - u.members
	if put != nil {
		packed = binary.AppendUvarint(packed, uint64(n))
		packed = binary.AppendUvarint(packed, uint64(t.word(string(put.Role))))
		members++
		t.count.members++
	} else if !was {
		return nil
	}
	u.id, u.members, u.packed = user, members, string(packed)
	t.putUser(u)
	return nil
}

// without returns the memberships except that of team n, and whether it was among them.
func (u userRecord) without(n uint32) (packed []byte, members int, was bool) {
	packed = make([]byte, 0, len(u.packed)+8)
	for rest := u.packed; rest != ""; {
		slot, _, size := nextMember(rest)
		if slot == n {
			was = true
		} else {
			packed, members = append(packed, rest[:size]...), members+1
		}
		rest = rest[size:]
	}
	return packed, members, was
}

// nextMember reads the first membership of packed ones and its size.
func nextMember(packed string) (slot, role uint32, size int) {
	slot, size = uvarintOf(packed)
	role, k := uvarintOf(packed[size:])
	return slot, role, size + k
}

func uvarintOf(s string) (uint32, int) {
	var n uint32
	for i := 0; ; i++ {
		n |= uint32(s[i]&0x7f) << (7 * i)
		if s[i] < 0x80 {
			return n, i + 1
		}
	}
}
