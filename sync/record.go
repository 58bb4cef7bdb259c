package syncer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tiergate/tiergate"
)

// A record is one thing as it stands in the last-known-good file: its kind as a byte, then
// its fields. The kinds of which there are very many have a form of their own, some ten
// times as fast to read as JSON; all others are JSON. A nil slice or map is told from an
// empty one: a length is written as one more than it is, and 0 is nil.

// kindCodes are the kinds' bytes; they never change their meaning.
var kindCodes = map[tiergate.Kind]byte{
	tiergate.KindFlagSet:  1,
	tiergate.KindFlag:     2,
	tiergate.KindTier:     3,
	tiergate.KindLimit:    4,
	tiergate.KindTeam:     5,
	tiergate.KindUser:     6,
	tiergate.KindMember:   7,
	tiergate.KindKey:      8,
	tiergate.KindOverride: 9,
	tiergate.KindGrant:    10,
	tiergate.KindPolicy:   11,
}

var kindsByCode = func() map[byte]tiergate.Kind {
	m := map[byte]tiergate.Kind{}
	for k, c := range kindCodes {
		m[c] = k
	}
	return m
}()

// appendRecord appends the record of a thing, one of the pointers that KeyOf knows.
func appendRecord(dst []byte, thing any) ([]byte, error) {
	kind, _ := tiergate.KeyOf(thing)
	dst = append(dst, kindCodes[kind])
	switch t := thing.(type) {
	case *tiergate.Flag:
		return appendFlag(dst, t)
	case *tiergate.Team:
		return appendTeam(dst, t), nil
	case *tiergate.User:
		dst = appendText(appendText(dst, t.ID), t.Tier)
		return appendBytes(dst, t.Attributes), nil
	case *tiergate.Member:
		return appendText(appendText(appendText(dst, t.TeamID), t.UserID), string(t.Role)), nil
	}
	body, err := json.Marshal(thing)
	if err != nil {
		return nil, fmt.Errorf("encode a %s: %w", kind, err)
	}
	return append(dst, body...), nil
}

func appendFlag(dst []byte, f *tiergate.Flag) ([]byte, error) {
	for _, s := range []string{f.ID, f.Set, f.Name, f.Title, f.Description, string(f.Type), f.DefaultVariant, f.OffVariant, f.Fault} {
		dst = appendText(dst, s)
	}
	dst = appendBool(dst, f.Enabled)
	dst = appendLength(dst, len(f.Variants), f.Variants == nil)
	for _, name := range slices.Sorted(maps.Keys(f.Variants)) {
		dst = appendBytes(appendText(dst, name), f.Variants[name])
	}
	dst = appendTexts(dst, f.Rules.Tiers)
	percentage, err := json.Marshal(f.Rules.Percentage)
	if err != nil {
		return nil, fmt.Errorf("encode flag %q: %w", f.Name, err)
	}
	dst = appendBytes(appendBytes(dst, percentage), f.Rules.Targeting)
	var metadata []byte
	if f.Metadata != nil {
		if metadata, err = json.Marshal(f.Metadata); err != nil {
			return nil, fmt.Errorf("encode the metadata of flag %q: %w", f.Name, err)
		}
	}
	dst = binary.AppendVarint(appendBytes(dst, metadata), f.Version)
	return appendTime(appendTime(dst, f.CreatedAt), f.UpdatedAt), nil
}

func appendTeam(dst []byte, t *tiergate.Team) []byte {
	for _, s := range []string{t.ID, t.Name, t.OwnerID, t.Tier, t.Status} {
		dst = appendText(dst, s)
	}
	dst = binary.AppendVarint(dst, int64(t.Settings.MaxMembers))
	dst = binary.AppendVarint(appendTexts(dst, t.Settings.AllowedFeatures), t.Version)
	return appendTime(appendTime(dst, t.CreatedAt), t.UpdatedAt)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendLength(dst []byte, n int, isNil bool) []byte {
	if isNil {
		return append(dst, 0)
	}
	return binary.AppendUvarint(dst, uint64(n)+1)
}

func appendBytes(dst, b []byte) []byte { return append(appendLength(dst, len(b), b == nil), b...) }

func appendTexts(dst []byte, list []string) []byte {
	dst = appendLength(dst, len(list), list == nil)
	for _, s := range list {
		dst = appendText(dst, s)
	}
	return dst
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	dst = binary.AppendVarint(dst, t.Unix())
	return binary.AppendUvarint(dst, uint64(t.Nanosecond()))
}

var errRecord = errors.New("a record breaks off or has a field that cannot be")

// A decoder reads records one after the other. Words that come again and again (sets,
// types, tiers, names and values of variants) are kept once for all records.
type decoder struct {
	rest   []byte
	failed bool
	words  map[string]string
	values map[string]json.RawMessage
}

// maxWords bounds what a decoder remembers, maxWord the length of what it remembers.
const (
	maxWords = 4096
	maxWord  = 32
)

func newDecoder() *decoder {
	return &decoder{words: map[string]string{}, values: map[string]json.RawMessage{}}
}

// thing decodes one record, all of it.
func (d *decoder) thing(record []byte) (any, error) {
	if len(record) == 0 {
		return nil, errRecord
	}
	d.rest, d.failed = record[1:], false
	var t any
	switch kindsByCode[record[0]] {
	case tiergate.KindFlag:
		t = d.flag()
	case tiergate.KindTeam:
		t = d.team()
	case tiergate.KindUser:
		t = &tiergate.User{ID: d.text(), Tier: d.word(), Attributes: d.bytes()}
	case tiergate.KindMember:
		t = &tiergate.Member{TeamID: d.word(), UserID: d.text(), Role: tiergate.Role(d.word())}
	case tiergate.KindFlagSet:
		return decodeJSON(d.rest, &tiergate.FlagSet{})
	case tiergate.KindTier:
		return decodeJSON(d.rest, &tiergate.Tier{})
	case tiergate.KindLimit:
		return decodeJSON(d.rest, &tiergate.Limit{})
	case tiergate.KindKey:
		return decodeJSON(d.rest, &tiergate.Key{})
	case tiergate.KindOverride:
		return decodeJSON(d.rest, &tiergate.Override{})
	case tiergate.KindGrant:
		return decodeJSON(d.rest, &tiergate.Grant{})
	case tiergate.KindPolicy:
		return decodeJSON(d.rest, &tiergate.PolicyBundle{})
	default:
		return nil, fmt.Errorf("a record is of the unknown kind %d", record[0])
	}
	if d.failed || len(d.rest) > 0 {
		return nil, errRecord
	}
	return t, nil
}

func decodeJSON[T any](data []byte, into *T) (any, error) {
	if err := json.Unmarshal(data, into); err != nil {
		return nil, fmt.Errorf("decode a record: %w", err)
	}
	return into, nil
}

func (d *decoder) flag() *tiergate.Flag {
	f := &tiergate.Flag{
		ID: d.text(), Set: d.word(), Name: d.text(), Title: d.text(), Description: d.text(),
		Type: tiergate.FlagType(d.word()), DefaultVariant: d.word(), OffVariant: d.word(), Fault: d.text(),
		Enabled: d.bool(),
	}
	if n, ok := d.length(); ok {
		f.Variants = make(map[string]json.RawMessage, n)
		for range n {
			name := d.word()
			f.Variants[name] = d.value()
		}
	}
	f.Rules.Tiers = d.texts()
	f.Rules.Percentage = d.float()
	f.Rules.Targeting = d.bytes()
	if metadata := d.view(); metadata != nil {
		d.failed = json.Unmarshal(metadata, &f.Metadata) != nil || d.failed
	}
	f.Version, f.CreatedAt, f.UpdatedAt = d.int(), d.time(), d.time()
	return f
}

func (d *decoder) team() *tiergate.Team {
	return &tiergate.Team{
		ID: d.text(), Name: d.text(), OwnerID: d.text(), Tier: d.word(), Status: d.word(),
		Settings: tiergate.TeamSettings{MaxMembers: int(d.int()), AllowedFeatures: d.texts()},
		Version:  d.int(), CreatedAt: d.time(), UpdatedAt: d.time(),
	}
}

// take returns the next n bytes as they stand in the record, nil when there are fewer.
func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.failed, d.rest = true, nil
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.failed, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.failed, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// length reads the number of elements of something that is not nil. Each takes a byte at
// least, so that a wrong length cannot ask for more memory than the record has.
func (d *decoder) length() (int, bool) {
	n := d.uint()
	if n == 0 {
		return 0, false
	}
	if n-1 > uint64(len(d.rest)) {
		d.failed, d.rest = true, nil
		return 0, false
	}
	return int(n - 1), true
}

func (d *decoder) text() string { return string(d.take(d.uint())) }

// word reads a text that is likely to come again.
func (d *decoder) word() string {
	b := d.take(d.uint())
	if s, ok := d.words[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(d.words) < maxWords && len(s) <= maxWord {
		d.words[s] = s
	}
	return s
}

// view reads bytes that are only looked at before the next record.
func (d *decoder) view() []byte {
	n, ok := d.length()
	if !ok {
		return nil
	}
	return d.take(uint64(n))
}

func (d *decoder) bytes() []byte { return slices.Clone(d.view()) }

// value reads the value of a variant, which is likely to come again.
func (d *decoder) value() json.RawMessage {
	b := d.view()
	if v, ok := d.values[string(b)]; ok && b != nil {
		return v
	}
	v := slices.Clone(b)
	if b != nil && len(d.values) < maxWords && len(v) <= maxWord {
		d.values[string(v)] = v
	}
	return v
}

func (d *decoder) texts() []string {
	n, ok := d.length()
	if !ok {
		return nil
	}
	list := make([]string, 0, n)
	for range n {
		list = append(list, d.word())
	}
	return list
}

func (d *decoder) float() float64 {
	switch b := d.view(); string(b) {
	case "0":
		return 0
	case "100":
		return 100
	default:
		var f float64
		d.failed = json.Unmarshal(b, &f) != nil || d.failed
		return f
	}
}

func (d *decoder) bool() bool {
	b := d.take(1)
	return len(b) == 1 && b[0] == 1
}

func (d *decoder) time() time.Time {
	if !d.bool() {
		return time.Time{}
	}
	sec := d.int()
	nsec := d.uint()
	if nsec >= uint64(time.Second) {
		d.failed = true
		return time.Time{}
	}
	return time.Unix(sec, int64(nsec)).UTC()
}
