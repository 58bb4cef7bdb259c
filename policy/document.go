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

// names of the leaves as terms, made once.
var names = func() (out [clockHour + 1]*ast.Term) {
	for _, s := range schema {
		out[s.kind] = ast.StringTerm(s.path[len(s.path)-1])
	}
	return out
}()

var (
	nameFeature, nameSubject, nameAttributes, nameClock = ast.StringTerm("feature"), ast.StringTerm("subject"), names[attributes], ast.StringTerm("clock")
	nameUser, nameTeam, nameKey, nameSettings           = ast.StringTerm("user"), ast.StringTerm("team"), ast.StringTerm("key"), ast.StringTerm("settings")
)

// A draft is an input document but for the effective tier, so that the one that is asked
// for it and those that have it share all the rest. Not safe for concurrent use.
//
// Every text of a question in it is a copy: what is built may outlive the request, in caches
// of OPA. So are those of rows, that none of them holds a page of packed rows.
type draft struct {
	shape           *shape
	definitions     *definitions
	feature, clock  *ast.Term // nil when not wanted
	user, team, key *ast.Term // nil when there is none
	attributes      [][2]*ast.Term
	top, subject    *ast.Term // the document as it was made last, and its subject
}

func (e *Engine) draft(s *shape, in *Input) draft {
	d := draft{shape: s, definitions: &e.definitions}
	if s.hasAny(featureName, featureMetadata) {
		d.feature = s.kept.object(objectKey{feature: in.Feature}, func() (*ast.Term, int) { return s.feature(in.Feature), in.Feature.weight() })
	}
	if s.hasAny(clockYear, clockHour) {
		d.clock = s.clock(&in.Clock)
	}
	if s.hasAny(userID, subjectTier) {
		d.readSubject(&in.Subject)
	}
	if s.has(attributes, attributesTeam) {
		d.attributes = s.context(in)
	}
	return d
}

// unresolved is the document that the effective tier is worked out from: it has none.
func (d *draft) unresolved() *ast.Term { return d.document(nil) }

// resolved is the document with an effective tier, where access and limits see it. It is
// the one of before with another tier: an evaluation leaves nothing behind that holds it.
func (d *draft) resolved(tier string) *ast.Term {
	term := d.definitions.term(tier)
	if d.top == nil {
		return d.document(term)
	}
	if d.shape.has(subjectTier) {
		d.subject.Value.(ast.Object).Insert(names[subjectTier], term)
		d.top.Value.(ast.Object).Insert(nameSubject, d.subject) // the same one, whose hash has changed
	}
	if d.shape.has(attributesTier) {
		d.top.Value.(ast.Object).Insert(nameAttributes, d.context(term))
	}
	return d.top
}

func (d *draft) document(tier *ast.Term) *ast.Term {
	var room [4][2]*ast.Term
	items := room[:0]
	if d.feature != nil {
		items = append(items, ast.Item(nameFeature, d.feature))
	}
	if d.clock != nil {
		items = append(items, ast.Item(nameClock, d.clock))
	}
	if d.shape.hasAny(userID, subjectTier) {
		d.subject = d.subjectOn(tier)
		items = append(items, ast.Item(nameSubject, d.subject))
	}
	if d.shape.hasAny(attributesTier, attributes) {
		items = append(items, ast.Item(nameAttributes, d.context(tier)))
	}
	d.top = ast.ObjectTerm(items...)
	return d.top
}

func (d *draft) context(tier *ast.Term) *ast.Term {
	items := d.attributes
	if tier != nil && d.shape.has(attributesTier) {
		items = append(items, ast.Item(names[attributesTier], tier))
	}
	return ast.ObjectTerm(items...)
}

func (d *draft) subjectOn(tier *ast.Term) *ast.Term {
	var room [4][2]*ast.Term
	items := room[:0]
	if d.user != nil {
		items = append(items, ast.Item(nameUser, d.user))
	}
	if d.team != nil {
		items = append(items, ast.Item(nameTeam, d.team))
	}
	if d.key != nil {
		items = append(items, ast.Item(nameKey, d.key))
	}
	if tier != nil && d.shape.has(subjectTier) {
		items = append(items, ast.Item(names[subjectTier], tier))
	}
	return ast.ObjectTerm(items...)
}

func (d *draft) readSubject(subject *Subject) {
	s := d.shape
	if subject.UserID != "" && s.hasAny(userID, userAttributes) {
		if s.has(userID, userAttributes) {
			d.user = d.readUser(subject)
		} else {
			of := objectKey{userTier: subject.UserTier, teamTier: subject.TeamTier}
			d.user = s.kept.object(of, func() (*ast.Term, int) { return d.readUser(subject), subject.weight() })
		}
	}
	if subject.Team != nil && s.hasAny(teamID, teamByKey) {
		of := objectKey{team: subject.Team, role: subject.Role, byKey: subject.teamByKey()}
		d.team = s.kept.object(of, func() (*ast.Term, int) { return s.team(subject, d.definitions), subject.Team.weight() })
	}
	if key := subject.Key; key != nil && s.has(keyID, keyScopes) {
		m := members{shape: s}
		m.text(keyID, key.ID)
		if s.has(keyScopes) {
			m.term(names[keyScopes], textsTerm(key.Scopes))
		}
		d.key = m.object()
	}
}

func (d *draft) readUser(subject *Subject) *ast.Term {
	m := members{shape: d.shape}
	m.text(userID, subject.UserID)
	if d.shape.has(userTier) {
		m.term(names[userTier], d.definitions.term(subject.UserTier))
	}
	if d.shape.has(userTeamTier) {
		m.term(names[userTeamTier], d.definitions.term(subject.TeamTier))
	}
	if d.shape.has(userAttributes) {
		var p jsonvalue.Parser
		m.term(names[userAttributes], membersTerm(parseAttributes(&p, subject.UserAttributes), d.shape.userAttributes))
	}
	return m.object()
}

// members collects the members of one object of the document, at most as many as it has
// room for.
type members struct {
	shape *shape
	n     int
	items [7][2]*ast.Term
}

func (m *members) text(kind leafKind, value string) {
	if m.shape.has(kind) {
		m.term(names[kind], textTerm(value))
	}
}

func (m *members) term(name, term *ast.Term) {
	m.items[m.n] = ast.Item(name, term)
	m.n++
}

func (m *members) object() *ast.Term { return ast.ObjectTerm(m.items[:m.n]...) }

func (s *shape) feature(f *Feature) *ast.Term {
	m := members{shape: s}
	m.text(featureName, f.name)
	m.text(featureSet, f.set)
	m.text(featureType, string(f.typ))
	if s.has(featureEnabled) {
		m.term(names[featureEnabled], ast.InternedTerm(f.enabled))
	}
	if s.has(featureTiers) {
		m.term(names[featureTiers], textsTerm(f.tiers))
	}
	if s.has(featurePercentage) {
		m.term(names[featurePercentage], ast.NewTerm(ast.Number(f.percentage)))
	}
	if s.has(featureMetadata) {
		m.term(names[featureMetadata], membersTerm(f.metadata, s.metadata))
	}
	return m.object()
}

func (s *shape) team(subject *Subject, definitions *definitions) *ast.Term {
	row := subject.Team.row
	m := members{shape: s}
	m.text(teamID, row.ID)
	if s.has(teamTier) {
		m.term(names[teamTier], definitions.term(row.Tier))
	}
	m.text(teamStatus, row.Status)
	if s.has(teamMaxMembers, teamAllowedFeatures) {
		inner := members{shape: s}
		if s.has(teamMaxMembers) {
			inner.term(names[teamMaxMembers], ast.InternedTerm(row.Settings.MaxMembers))
		}
		if s.has(teamAllowedFeatures) {
			inner.term(names[teamAllowedFeatures], textsTerm(row.Settings.AllowedFeatures))
		}
		m.term(nameSettings, inner.object())
	}
	if subject.Role != "" {
		m.text(teamRole, subject.Role)
	}
	if s.has(teamByKey) {
		m.term(names[teamByKey], ast.InternedTerm(subject.teamByKey()))
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
		items = append(items, ast.Item(names[attributesTeam], textTerm(in.Subject.Team.row.ID)))
	}
	return items
}

func (s *shape) clock(c *Clock) *ast.Term {
	m := members{shape: s}
	for kind := clockYear; kind <= clockHour; kind++ {
		if s.has(kind) {
			m.term(names[kind], ast.InternedTerm(c.field(kind)))
		}
	}
	return m.object()
}

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
