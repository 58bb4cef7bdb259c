package quota

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"github.com/tiergate/tiergate"
)

// The form of a record in the usage log. Numbers are varints; a text is its length and its
// bytes. A use is
//
//	kind 'u' · length of the identity · identity · at (ns) · units · units of each spend · has · key? · metadata?
//
// where the identity (team, user, feature, and bucket and holder of each spend) is what uses
// have in common that can be folded into one. A denial is kind 'd' and its fields.
const (
	kindUse    = 'u'
	kindDenial = 'd'

	hasKey      = 1
	hasMetadata = 2

	maxSpends = 16 // the most limits that a use may have
)

var errRecord = errors.New("the record is not one of a usage log")

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendUse appends the record of a use.
func appendUse(b []byte, t *Take, at time.Time, spends []spent) []byte {
	b = append(b, kindUse)
	size := textSize(t.TeamID) + textSize(t.UserID) + textSize(t.Feature)
	for i := range spends {
		s := &spends[i]
		size += textSize(s.bucket.Limit) + textSize(s.bucket.Scope) + textSize(s.bucket.Subject) + textSize(s.bucket.Period) + textSize(s.holder)
	}
	b = binary.AppendUvarint(b, uint64(size))
	b = appendText(appendText(appendText(b, t.TeamID), t.UserID), t.Feature)
	for i := range spends {
		s := &spends[i]
		b = appendText(appendText(b, s.bucket.Limit), s.bucket.Scope)
		b = appendText(appendText(appendText(b, s.bucket.Subject), s.bucket.Period), s.holder)
	}
	b = binary.AppendVarint(b, at.UnixNano())
	b = binary.AppendUvarint(b, uint64(t.Units))
	for i := range spends {
		b = binary.AppendUvarint(b, uint64(spends[i].units))
	}
	has := byte(0)
	if t.Key != nil {
		has |= hasKey
	}
	if len(t.Metadata) > 0 {
		has |= hasMetadata
	}
	b = append(b, has)
	if t.Key != nil {
		b = appendText(appendText(appendText(b, t.Key.Scope), t.Key.Key), t.Key.Fingerprint)
	}
	if len(t.Metadata) > 0 {
		b = append(binary.AppendUvarint(b, uint64(len(t.Metadata))), t.Metadata...)
	}
	return b
}

func textSize(s string) int {
	n := 1
	for l := len(s); l >= 0x80; l >>= 7 {
		n++
	}
	return n + len(s)
}

func appendDenial(b []byte, d *tiergate.Denial) []byte {
	b = append(b, kindDenial)
	b = binary.AppendVarint(b, d.Hour.Unix())
	b = appendText(appendText(appendText(appendText(b, d.TeamID), d.UserID), d.Feature), string(d.Reason))
	return binary.AppendUvarint(b, uint64(d.Count))
}

// A reader takes a record apart. After something that is not there, bad is set and all else
// is zero.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) int() int64 {
	n, size := binary.Varint(r.rest)
	if size <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// units is a number of units: never negative.
func (r *reader) units() int64 {
	n := r.uint()
	if n > uint64(tiergate.MaxAmount) {
		r.bad = true
		return 0
	}
	return int64(n)
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) text() string { return string(r.bytes()) }

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

// keyOf returns the idempotency key in a record, and false when it has none.
func keyOf(payload []byte) (tiergate.UsageKey, bool) {
	var f folder
	if err := f.add([16]byte{}, payload); err != nil || len(f.usage) == 0 || f.usage[0].Key == nil {
		return tiergate.UsageKey{}, false
	}
	return *f.usage[0].Key, true
}

// A folder turns records into usage, uses of one hour, subject and feature into one.
type folder struct {
	usage   []tiergate.Usage
	denials []tiergate.Denial
	index   map[foldKey]int
}

type foldKey struct {
	identity string
	hour     int64
}

// add takes in one record.
func (f *folder) add(id [16]byte, payload []byte) error {
	r := reader{rest: payload}
	switch r.byte() {
	case kindUse:
		f.addUse(id, &r)
	case kindDenial:
		d := tiergate.Denial{Hour: time.Unix(r.int(), 0).UTC()}
		d.TeamID, d.UserID, d.Feature, d.Reason = r.text(), r.text(), r.text(), tiergate.UseReason(r.text())
		d.Count = r.units()
		if !r.bad && len(r.rest) == 0 {
			f.denials = append(f.denials, d)
		}
	default:
		return errRecord
	}
	if r.bad || len(r.rest) > 0 {
		return errRecord
	}
	return nil
}

func (f *folder) addUse(id [16]byte, r *reader) {
	identity := r.bytes()
	at, units := time.Unix(0, r.int()).UTC(), r.units()
	hour := at.Truncate(time.Hour).Unix()
	if i, ok := f.index[foldKey{string(identity), hour}]; ok && f.fold(&f.usage[i], *r, units) {
		r.rest = nil
		return
	}
	u, bad := readIdentity(identity)
	if bad {
		r.bad = true
		return
	}
	for i := range u.Spends {
		u.Spends[i].Units = r.units()
	}
	has := r.byte()
	if has&hasKey != 0 {
		u.Key = &tiergate.UsageKey{Scope: r.text(), Key: r.text(), Fingerprint: r.text()}
	}
	if has&hasMetadata != 0 {
		u.Metadata = json.RawMessage(r.text())
	}
	if r.bad || len(r.rest) > 0 {
		r.bad = true
		return
	}
	u.ID, u.At, u.Units, u.Events = uuidText(id), at, units, 1
	if has == 0 {
		if f.index == nil {
			f.index = map[foldKey]int{}
		}
		f.index[foldKey{string(identity), hour}] = len(f.usage)
	}
	f.usage = append(f.usage, u)
}

// fold adds a use to those of the same kind, of which r still has what each bucket gave. It
// says whether it did: what has a key or metadata, or would bring a sum near an overflow,
// stands alone.
func (f *folder) fold(into *tiergate.Usage, r reader, units int64) bool {
	const most = tiergate.MaxAmount
	var spent [maxSpends]int64
	fits := into.Units+units <= most
	for i := range into.Spends {
		spent[i] = r.units()
		fits = fits && into.Spends[i].Units+spent[i] <= most
	}
	if has := r.byte(); r.bad || has != 0 || len(r.rest) > 0 || !fits {
		return false
	}
	into.Units += units
	into.Events++
	for i := range into.Spends {
		into.Spends[i].Units += spent[i]
	}
	return true
}

func readIdentity(identity []byte) (u tiergate.Usage, bad bool) {
	r := reader{rest: identity}
	u.TeamID, u.UserID, u.Feature = r.text(), r.text(), r.text()
	for len(r.rest) > 0 && !r.bad && len(u.Spends) <= maxSpends {
		u.Spends = append(u.Spends, tiergate.Spend{
			Bucket: tiergate.Bucket{Limit: r.text(), Scope: r.text(), Subject: r.text(), Period: r.text()}, Holder: r.text(),
		})
	}
	return u, r.bad || len(u.Spends) > maxSpends
}
