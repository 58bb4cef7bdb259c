package policy

import (
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// A shape says which parts of the input document an evaluation needs. Only those are
// built: the rest could not be read.
type shape struct {
	kinds uint64 // a bit for each leafKind
	// The first members wanted of what others define; nil is all of them.
	metadata, userAttributes, attributes []string
}

func shapeOf(p projection, leaves []leaf) shape {
	if p.bare {
		return shape{kinds: ^uint64(0)}
	}
	var s shape
	for _, l := range leaves {
		first := s.kinds&(1<<l.kind) == 0
		s.kinds |= 1 << l.kind
		var names *[]string
		switch l.kind {
		case featureMetadata:
			names = &s.metadata
		case userAttributes:
			names = &s.userAttributes
		case attributes:
			names = &s.attributes
		default:
			continue
		}
		if l.sub == nil || !first && *names == nil {
			*names = nil
		} else {
			*names = append(*names, l.sub[0])
		}
	}
	return s
}

func (s *shape) has(kinds ...leafKind) bool {
	for _, k := range kinds {
		if s.kinds&(1<<k) != 0 {
			return true
		}
	}
	return false
}

// hasAny says whether any kind from first to last is wanted.
func (s *shape) hasAny(first, last leafKind) bool {
	return s.kinds>>first&(1<<(last-first+1)-1) != 0
}

// names of the document as terms, made once.
var names = func() map[string]*ast.Term {
	out := map[string]*ast.Term{}
	for _, s := range schema {
		for _, name := range s.path {
			out[name] = ast.StringTerm(name)
		}
	}
	return out
}()

var (
	nameFeature, nameSubject, nameAttributes, nameClock = names["feature"], names["subject"], names["attributes"], names["clock"]
	nameUser, nameTeam, nameKey, nameTier               = names["user"], names["team"], names["key"], names["tier"]
)

// A draft is an input document but for the effective tier, so that the one that is asked
// for it and those that have it share all the rest. Not safe for concurrent use.
//
// Every text in it is a copy: what is built may outlive the request, in caches of OPA.
type draft struct {
	shape                    *shape
	top, subject, attributes [][2]*ast.Term
}

func (s *shape) draft(in *Input) *draft {
	d := &draft{shape: s, top: make([][2]*ast.Term, 0, 4)}
	if s.hasAny(featureName, featureMetadata) {
		d.top = append(d.top, ast.Item(nameFeature, s.feature(in.Feature)))
	}
	if s.hasAny(clockYear, clockHour) {
		d.top = append(d.top, ast.Item(nameClock, s.clock(&in.Clock)))
	}
	if s.hasAny(userID, subjectTier) {
		d.subject = s.subject(&in.Subject)
	}
	if s.has(attributes, attributesTeam) {
		d.attributes = s.context(in)
	}
	return d
}

// unresolved is the document that the effective tier is worked out from: it has none.
func (d *draft) unresolved() *ast.Term { return d.document(d.subject, d.attributes) }

// resolved is the document with an effective tier, where access and limits see it.
func (d *draft) resolved(tier string) *ast.Term {
	term := textTerm(tier)
	subject, attributes := d.subject, d.attributes
	if d.shape.has(subjectTier) {
		subject = append(subject, ast.Item(nameTier, term))
	}
	if d.shape.has(attributesTier) {
		attributes = append(attributes, ast.Item(nameTier, term))
	}
	return d.document(subject, attributes)
}

func (d *draft) document(subject, context [][2]*ast.Term) *ast.Term {
	top := d.top
	if d.shape.hasAny(userID, subjectTier) {
		top = append(top, ast.Item(nameSubject, ast.ObjectTerm(subject...)))
	}
	if d.shape.hasAny(attributesTier, attributes) {
		top = append(top, ast.Item(nameAttributes, ast.ObjectTerm(context...)))
	}
	return ast.ObjectTerm(top...)
}

// members collects the members of one object of the document.
type members struct {
	shape *shape
	items [][2]*ast.Term
}

func (s *shape) members(n int) members { return members{s, make([][2]*ast.Term, 0, n)} }

func (m *members) text(kind leafKind, name, value string) {
	if m.shape.has(kind) {
		m.items = append(m.items, ast.Item(names[name], textTerm(value)))
	}
}

func (m *members) term(name string, term *ast.Term) {
	m.items = append(m.items, ast.Item(names[name], term))
}

func (m *members) object() *ast.Term { return ast.ObjectTerm(m.items...) }

func (s *shape) feature(f *Feature) *ast.Term {
	m := s.members(7)
	m.text(featureName, "name", f.name)
	m.text(featureSet, "set", f.set)
	m.text(featureType, "type", string(f.typ))
	if s.has(featureEnabled) {
		m.term("enabled", ast.InternedTerm(f.enabled))
	}
	if s.has(featureTiers) {
		m.term("tiers", textsTerm(f.tiers))
	}
	if s.has(featurePercentage) {
		m.term("percentage", ast.NewTerm(ast.Number(f.percentage)))
	}
	if s.has(featureMetadata) {
		m.term("metadata", membersTerm(f.metadata, s.metadata))
	}
	return m.object()
}

func (s *shape) subject(subject *Subject) [][2]*ast.Term {
	items := make([][2]*ast.Term, 0, 4)
	if subject.UserID != "" && s.hasAny(userID, userAttributes) {
		m := s.members(4)
		m.text(userID, "id", subject.UserID)
		m.text(userTier, "tier", subject.UserTier)
		m.text(userTeamTier, "teamTier", subject.TeamTier)
		if s.has(userAttributes) {
			var p jsonvalue.Parser
			m.term("attributes", membersTerm(parseAttributes(&p, subject.UserAttributes), s.userAttributes))
		}
		items = append(items, ast.Item(nameUser, m.object()))
	}
	if subject.Team != nil && s.hasAny(teamID, teamByKey) {
		items = append(items, ast.Item(nameTeam, s.team(subject)))
	}
	if key := subject.Key; key != nil && s.has(keyID, keyScopes) {
		m := s.members(2)
		m.text(keyID, "id", key.ID)
		if s.has(keyScopes) {
			m.term("scopes", textsTerm(key.Scopes))
		}
		items = append(items, ast.Item(nameKey, m.object()))
	}
	return items
}

func (s *shape) team(subject *Subject) *ast.Term {
	row := subject.Team.row
	m := s.members(6)
	m.text(teamID, "id", row.ID)
	m.text(teamTier, "tier", row.Tier)
	m.text(teamStatus, "status", row.Status)
	if s.has(teamMaxMembers, teamAllowedFeatures) {
		inner := s.members(2)
		if s.has(teamMaxMembers) {
			inner.term("maxMembers", ast.InternedTerm(row.Settings.MaxMembers))
		}
		if s.has(teamAllowedFeatures) {
			inner.term("allowedFeatures", textsTerm(row.Settings.AllowedFeatures))
		}
		m.term("settings", inner.object())
	}
	if subject.Role != "" {
		m.text(teamRole, "role", subject.Role)
	}
	if s.has(teamByKey) {
		m.term("byKey", ast.InternedTerm(subject.teamByKey()))
	}
	return m.object()
}

// context builds the members of input.attributes: the caller's, with the resolved team in
// place of the caller's, and without a tier.
func (s *shape) context(in *Input) [][2]*ast.Term {
	var items [][2]*ast.Term
	if s.has(attributes) && in.Attributes.Kind() == tiergate.ObjectValue {
		for i := range in.Attributes.Len() {
			name := in.Attributes.KeyAt(i)
			if name == "tier" || name == "team" || s.attributes != nil && !slices.Contains(s.attributes, name) {
				continue
			}
			items = append(items, ast.Item(textTerm(name), termOf(in.Attributes.Index(i))))
		}
	}
	if in.Subject.TeamApplies() && s.has(attributesTeam) {
		items = append(items, ast.Item(nameTeam, textTerm(in.Subject.Team.row.ID)))
	}
	return items
}

func (s *shape) clock(c *Clock) *ast.Term {
	m := s.members(5)
	for kind := clockYear; kind <= clockHour; kind++ {
		if s.has(kind) {
			m.term(clockNames[kind-clockYear], ast.InternedTerm(c.field(kind)))
		}
	}
	return m.object()
}

var clockNames = [...]string{"year", "month", "day", "weekday", "hour"}

func textTerm(s string) *ast.Term { return ast.StringTerm(strings.Clone(s)) }

func textsTerm(list []string) *ast.Term {
	terms := make([]*ast.Term, len(list))
	for i, s := range list {
		terms[i] = textTerm(s)
	}
	return ast.ArrayTerm(terms...)
}

// membersTerm builds an object of those members that are named, nil for all.
func membersTerm(v tiergate.Value, wanted []string) *ast.Term {
	if wanted == nil {
		return termOf(v)
	}
	items := make([][2]*ast.Term, 0, len(wanted))
	for i := range v.Len() {
		if name := v.KeyAt(i); slices.Contains(wanted, name) {
			items = append(items, ast.Item(textTerm(name), termOf(v.Index(i))))
		}
	}
	return ast.ObjectTerm(items...)
}

// termOf builds a value as OPA has it. Numbers keep their literal text; those that have
// no JSON form become null.
func termOf(v tiergate.Value) *ast.Term {
	switch v.Kind() {
	case tiergate.False, tiergate.True:
		return ast.InternedTerm(v.Kind() == tiergate.True)
	case tiergate.NumberValue:
		if f := v.Float(); f != f || f-f != f-f && !isLiteral(v.Text()) {
			return ast.NullTerm()
		}
		return ast.NewTerm(ast.Number(strings.Clone(v.Text())))
	case tiergate.StringValue:
		return textTerm(v.Text())
	case tiergate.ArrayValue:
		terms := make([]*ast.Term, v.Len())
		for i := range terms {
			terms[i] = termOf(v.Index(i))
		}
		return ast.ArrayTerm(terms...)
	case tiergate.ObjectValue:
		items := make([][2]*ast.Term, v.Len())
		for i := range items {
			items[i] = ast.Item(textTerm(v.KeyAt(i)), termOf(v.Index(i)))
		}
		return ast.ObjectTerm(items...)
	}
	return ast.NullTerm()
}

// isLiteral tells 1e999, which JSON can say, from what strconv makes of an infinity.
func isLiteral(text string) bool {
	_, err := strconv.Atoi(text[:1])
	return err == nil || text[0] == '-' && len(text) > 1 && text[1] >= '0' && text[1] <= '9'
}

// bytesOf views a string as bytes that nobody may write to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
