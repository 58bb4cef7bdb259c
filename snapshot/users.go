package snapshot

import (
	"encoding/binary"
	"hash/maphash"
	"unsafe"
)

// Users are kept in a persistent hash trie whose leaves are runs of packed records, about
// fifteen in each: a row costs its id, its attributes and some eight bytes. Adding one
// copies a leaf of about a kilobyte and the four or five nodes above it.
const (
	userBits    = 4
	userWidth   = 1 << userBits
	userLeafMax = 48
	userDeepest = 56 / userBits // the top byte of the hash is the record's tag
)

var userSeed = maphash.MakeSeed()

// edit marks the nodes that one transaction made and may change in place.
type edit struct{ _ byte }

type userNode struct {
	edit *edit
	kids *[userWidth]*userNode // nil in a leaf
	n    int                   // of a leaf: how many records data holds
	data []byte                // records, one behind the other
}

// A userRecord is one user's record, unpacked as far as needed; its strings are views
// into the leaf. A record without present is there for its memberships only, which may
// arrive before their user.
//
// Packed: tag (1 byte), length of the rest, length of the id, id, present (0 or 1) and
// tier as one number, number of memberships, per membership the team's slot and the
// role, attributes. Numbers are varints.
type userRecord struct {
	id      string
	present bool
	tier    uint32 // in the table of words
	members int
	packed  string // the memberships
	attrs   string
}

func userHash(id string) uint64 { return maphash.String(userSeed, id) }

// find returns the record of id. It does not allocate.
func (n *userNode) find(id string) (userRecord, bool) {
	hash := userHash(id)
	for rest := hash; n != nil; rest >>= userBits {
		if n.kids == nil {
			body, _, _ := n.seek(hash, id)
			if body == nil {
				return userRecord{}, false
			}
			return unpackUser(body), true
		}
		n = n.kids[rest%userWidth]
	}
	return userRecord{}, false
}

// seek returns the body of id's record in a leaf and where the record begins and ends.
func (n *userNode) seek(hash uint64, id string) (body []byte, from, to int) {
	tag, data := byte(hash>>56), n.data
	for at := 0; at < len(data); at = to {
		length, head := uvarint(data[at+1:])
		start := at + 1 + head
		to = start + int(length)
		if data[at] != tag {
			continue
		}
		idLength, k := uvarint(data[start:])
		if int(idLength) == len(id) && view(data[start+k:start+k+len(id)]) == id {
			return data[start:to], at, to
		}
	}
	return nil, 0, 0
}

// uvarint is binary.Uvarint with the common one-byte case inlined; packed data is our own.
func uvarint(b []byte) (uint64, int) {
	if b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return binary.Uvarint(b)
}

// view sees bytes that nobody changes as a string.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func unpackUser(body []byte) userRecord {
	n, k := uvarint(body)
	u := userRecord{id: view(body[k : k+int(n)])}
	body = body[k+int(n):]
	word, k := uvarint(body)
	body = body[k:]
	u.present, u.tier = word&1 == 1, uint32(word>>1)
	members, k := uvarint(body)
	body = body[k:]
	u.members = int(members)
	end := 0
	for range 2 * u.members {
		_, k := uvarint(body[end:])
		end += k
	}
	u.packed, u.attrs = view(body[:end]), view(body[end:])
	return u
}

// appendUser appends the packed record of u.
func appendUser(dst []byte, u userRecord) []byte {
	var word uint64
	if u.present {
		word = 1
	}
	word |= uint64(u.tier) << 1
	size := sizeUvarint(uint64(len(u.id))) + len(u.id) + sizeUvarint(word) + sizeUvarint(uint64(u.members)) + len(u.packed) + len(u.attrs)
	dst = append(dst, byte(userHash(u.id)>>56))
	dst = binary.AppendUvarint(dst, uint64(size))
	dst = binary.AppendUvarint(dst, uint64(len(u.id)))
	dst = append(dst, u.id...)
	dst = binary.AppendUvarint(dst, word)
	dst = binary.AppendUvarint(dst, uint64(u.members))
	dst = append(dst, u.packed...)
	return append(dst, u.attrs...)
}

func sizeUvarint(n uint64) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// each yields every record.
func (n *userNode) each(yield func(userRecord) bool) bool {
	if n == nil {
		return true
	}
	if n.kids != nil {
		for _, kid := range n.kids {
			if !kid.each(yield) {
				return false
			}
		}
		return true
	}
	for data := n.data; len(data) > 0; {
		length, head := uvarint(data[1:])
		end := 1 + head + int(length)
		if !yield(unpackUser(data[1+head : end])) {
			return false
		}
		data = data[end:]
	}
	return true
}
