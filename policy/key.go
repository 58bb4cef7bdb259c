package policy

import (
	"encoding/binary"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// Bounds of what goes into a cache key; beyond them an answer is not remembered.
const (
	maxCompositeKey = 1 << 10          // bytes of one array or object
	maxObjectKey    = 64               // members of one object
	maxKey          = cacheShare - 256 // bytes of a whole key: with its answer it must fit a share
)

// A keyBuilder builds cache keys in memory that it reuses. Not safe for concurrent use.
type keyBuilder struct {
	buf    []byte
	parser jsonvalue.Parser
	// parsed is the subject's attributes, once a leaf has asked for them.
	parsed    tiergate.Value
	hasParsed bool
}

// build returns the key of an input: the entry point, then each leaf as a type tag and a
// value, length-prefixed, in the fixed order of leaves. It is false when the answer must
// not be remembered. The key is valid until the next call.
//
// Values that differ in any way that Rego could see have different keys: numbers are
// compared by their literal text, never as float64, so 9007199254740993 and
// 9007199254740992 do not share one; undefined and null have tags of their own.
func (b *keyBuilder) build(entry byte, leaves []leaf, in *Input, tier string) ([]byte, bool) {
	b.hasParsed = false
	b.buf = append(b.buf[:0], entry)
	return b.extend(len(b.buf), leaves, in, tier)
}

// subject builds the part of the key of an access decision that is the subject's.
func (b *keyBuilder) subject(e *Engine, in *Input) ([]byte, bool) {
	b.hasParsed = false
	b.buf = append(b.buf[:0], keyOfAccess)
	if team := in.Subject.Team; team != nil {
		p := e.partOf(&team.part, e.teamLeaves, in)
		if !p.ok {
			return nil, false
		}
		b.buf = append(b.buf, p.key...)
	} else {
		for range e.teamLeaves {
			b.buf = append(b.buf, tagUndefined)
		}
	}
	return b.extend(len(b.buf), e.subjectLeaves, in, "")
}

// A part is a run of leaves of a key whose values are those of one immutable thing, a
// feature or a team, for one engine.
type part struct {
	engine uint64
	key    []byte
	hash   uint64
	ok     bool // false when it does not fit into a key
}

// partOf returns what kept remembers for e, and makes it anew for another engine. The thing
// is asked about again and again, and its part of the key is always the same.
func (e *Engine) partOf(kept *atomic.Pointer[part], leaves []leaf, in *Input) *part {
	p := kept.Load()
	if p == nil || p.engine != e.id {
		var b keyBuilder
		key, ok := b.extend(0, leaves, in, "")
		p = &part{engine: e.id, key: slices.Clip(key), hash: e.answers.hash(key), ok: ok}
		kept.Store(p)
	}
	return p
}

// extend goes on behind the first n bytes of the key that was built last.
func (b *keyBuilder) extend(n int, leaves []leaf, in *Input, tier string) ([]byte, bool) {
	b.buf = b.buf[:n]
	var ok bool
	for i := range leaves {
		if b.buf, ok = b.appendLeaf(b.buf, &leaves[i], in, tier); !ok || len(b.buf) > maxKey {
			return nil, false
		}
	}
	return b.buf, true
}

func (b *keyBuilder) appendLeaf(dst []byte, l *leaf, in *Input, tier string) ([]byte, bool) {
	switch {
	case l.kind <= featureMetadata:
		return appendFeatureLeaf(dst, l, in.Feature)
	case l.kind <= userAttributes:
		return b.appendUserLeaf(dst, l, &in.Subject)
	case l.kind <= teamByKey:
		return appendTeamLeaf(dst, l, &in.Subject)
	}
	switch l.kind {
	case keyID:
		if in.Subject.Key == nil {
			return append(dst, tagUndefined), true
		}
		return appendText(dst, tagString, in.Subject.Key.ID), true
	case keyScopes:
		if in.Subject.Key == nil {
			return append(dst, tagUndefined), true
		}
		return appendStrings(dst, in.Subject.Key.Scopes)
	case subjectTier, attributesTier:
		return appendText(dst, tagString, tier), true
	case attributesTeam:
		if !in.Subject.TeamApplies() {
			return append(dst, tagUndefined), true
		}
		return appendTeamLeaf(dst, &leaf{kind: teamID}, &in.Subject)
	case attributes:
		return appendAttributes(dst, l.sub, in.Attributes)
	}
	return appendInt(dst, in.Clock.field(l.kind)), true
}

func appendFeatureLeaf(dst []byte, l *leaf, f *Feature) ([]byte, bool) {
	switch l.kind {
	case featureName:
		return appendText(dst, tagString, f.name), true
	case featureSet:
		return appendText(dst, tagString, f.set), true
	case featureType:
		return appendText(dst, tagString, string(f.typ)), true
	case featureEnabled:
		return appendBool(dst, f.enabled), true
	case featureTiers:
		return appendStrings(dst, f.tiers)
	case featurePercentage:
		return appendText(dst, tagNumber, f.percentage), true
	}
	return appendValue(dst, walk(f.metadata, l.sub))
}

func (b *keyBuilder) appendUserLeaf(dst []byte, l *leaf, s *Subject) ([]byte, bool) {
	if s.UserID == "" {
		return append(dst, tagUndefined), true
	}
	switch l.kind {
	case userID:
		return appendText(dst, tagString, s.UserID), true
	case userTier:
		return appendText(dst, tagString, s.UserTier), true
	case userTeamTier:
		return appendText(dst, tagString, s.TeamTier), true
	}
	if !b.hasParsed {
		b.parsed, b.hasParsed = parseAttributes(&b.parser, s.UserAttributes), true
	}
	return appendValue(dst, walk(b.parsed, l.sub))
}

// parseAttributes reads a user's stored attributes; what is no JSON object counts as {}.
func parseAttributes(p *jsonvalue.Parser, text string) tiergate.Value {
	if text == "" || text == "{}" {
		return emptyObject
	}
	v, err := p.Parse(bytesOf(text)) // which copies it
	if err != nil || v.Kind() != tiergate.ObjectValue {
		return emptyObject
	}
	return v
}

func appendTeamLeaf(dst []byte, l *leaf, s *Subject) ([]byte, bool) {
	if s.Team == nil {
		return append(dst, tagUndefined), true
	}
	row := s.Team.row
	switch l.kind {
	case teamID:
		return appendText(dst, tagString, row.ID), true
	case teamTier:
		return appendText(dst, tagString, row.Tier), true
	case teamStatus:
		return appendText(dst, tagString, row.Status), true
	case teamMaxMembers:
		return appendInt(dst, row.Settings.MaxMembers), true
	case teamAllowedFeatures:
		return appendStrings(dst, row.Settings.AllowedFeatures)
	case teamRole:
		if s.Role == "" {
			return append(dst, tagUndefined), true
		}
		return appendText(dst, tagString, s.Role), true
	}
	return appendBool(dst, s.teamByKey()), true
}

func (c *Clock) field(kind leafKind) int {
	switch kind {
	case clockYear:
		return c.Year
	case clockMonth:
		return c.Month
	case clockDay:
		return c.Day
	case clockWeekday:
		return c.Weekday
	}
	return c.Hour
}

// appendAttributes appends the evaluation context, or what is below path in it, without
// the members that the resolved tier and team replace.
func appendAttributes(dst []byte, path []string, v tiergate.Value) ([]byte, bool) {
	if path != nil {
		return appendValue(dst, walk(v, path))
	}
	return appendObject(dst, v, len(dst), true)
}

// walk returns what is at the end of a path of members, Undefined when there is nothing.
func walk(v tiergate.Value, path []string) tiergate.Value {
	for _, name := range path {
		v = v.Field(name)
	}
	return v
}

// The type tags of values in keys.
const (
	tagUndefined byte = iota
	tagNull
	tagFalse
	tagTrue
	tagNumber
	tagString
	tagArray
	tagObject
)

func appendText(dst []byte, tag byte, s string) []byte {
	dst = binary.AppendUvarint(append(dst, tag), uint64(len(s)))
	return append(dst, s...)
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, tagTrue)
	}
	return append(dst, tagFalse)
}

func appendInt(dst []byte, n int) []byte {
	var digits [20]byte
	text := strconv.AppendInt(digits[:0], int64(n), 10)
	dst = append(dst, tagNumber, byte(len(text)))
	return append(dst, text...)
}

func appendStrings(dst []byte, list []string) ([]byte, bool) {
	start := len(dst)
	dst = binary.AppendUvarint(append(dst, tagArray), uint64(len(list)))
	for _, s := range list {
		if dst = appendText(dst, tagString, s); len(dst)-start > maxCompositeKey {
			return dst, false
		}
	}
	return dst, true
}

// appendValue appends a value to a key, false when it is too large for one.
func appendValue(dst []byte, v tiergate.Value) ([]byte, bool) {
	return appendWithin(dst, v, len(dst))
}

// appendWithin appends a value; the composite that it is part of begins at start.
func appendWithin(dst []byte, v tiergate.Value, start int) ([]byte, bool) {
	switch v.Kind() {
	case tiergate.Null:
		return append(dst, tagNull), true
	case tiergate.False:
		return append(dst, tagFalse), true
	case tiergate.True:
		return append(dst, tagTrue), true
	case tiergate.NumberValue:
		return appendText(dst, tagNumber, v.Text()), true
	case tiergate.StringValue:
		return appendText(dst, tagString, v.Text()), true
	case tiergate.ArrayValue:
		dst = binary.AppendUvarint(append(dst, tagArray), uint64(v.Len()))
		for i := range v.Len() {
			var ok bool
			if dst, ok = appendWithin(dst, v.Index(i), start); !ok || len(dst)-start > maxCompositeKey {
				return dst, false
			}
		}
		return dst, true
	case tiergate.ObjectValue:
		return appendObject(dst, v, start, false)
	}
	return append(dst, tagUndefined), true
}

// appendObject appends an object with its keys sorted; anything else counts as {} here.
// Of an evaluation context it leaves out what the resolved tier and team replace.
func appendObject(dst []byte, v tiergate.Value, start int, context bool) ([]byte, bool) {
	n := 0
	var order [maxObjectKey]int
	for i := range v.Len() {
		if v.Kind() != tiergate.ObjectValue {
			break
		}
		key := v.KeyAt(i)
		if context && (key == "tier" || key == "team") {
			continue
		}
		if n == maxObjectKey {
			return dst, false
		}
		at := n
		for ; at > 0 && v.KeyAt(order[at-1]) > key; at-- {
			order[at] = order[at-1]
		}
		order[at] = i
		n++
	}
	dst = binary.AppendUvarint(append(dst, tagObject), uint64(n))
	for _, i := range order[:n] {
		var ok bool
		dst = appendText(dst, tagString, v.KeyAt(i))
		if dst, ok = appendWithin(dst, v.Index(i), start); !ok || len(dst)-start > maxCompositeKey {
			return dst, false
		}
	}
	return dst, true
}
