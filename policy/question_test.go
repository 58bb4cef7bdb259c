package policy_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
	"github.com/tiergate/tiergate/policy"
)

// A question is one input, written down so that both sides read it in their own way.
type question struct {
	feature    int
	user       string
	userTier   string
	teamTier   string
	userAttrs  string // JSON, "" for none
	team       int    // 0 is none
	role       string
	key        int // 0 is none
	attributes map[string]string
	clock      policy.Clock
}

type featureRow struct {
	name, metadata string
	tiers          []string
	percentage     float64
}

var featureRows = []featureRow{
	{"a", `{}`, nil, 100},
	{"b", `{"m":1}`, []string{"pro"}, 0},
	{"a", `{"m":"1"}`, []string{"pro", "enterprise"}, 12.5},
	{"custom-reports", `{"m":true,"n":9007199254740993}`, []string{"enterprise"}, 100},
}

var teamRows = []*tiergate.Team{
	nil,
	{ID: "acme", Tier: "enterprise", Status: "active", Settings: tiergate.TeamSettings{MaxMembers: 5, AllowedFeatures: []string{}}},
	{ID: "a", Tier: "pro", Status: "active", Settings: tiergate.TeamSettings{MaxMembers: 5, AllowedFeatures: []string{"custom-reports"}}},
	{ID: "1", Tier: "free", Status: "suspended", Settings: tiergate.TeamSettings{MaxMembers: 50, AllowedFeatures: []string{"a", "b"}}},
}

var keyRows = []*tiergate.Key{nil, {ID: "k1", TeamID: "acme", Scopes: []string{"b"}}, {ID: "k2", TeamID: "a", Scopes: []string{"a", "b"}}}

var (
	features []*policy.Feature
	teams    []*policy.Team
)

func init() {
	for _, f := range featureRows {
		var metadata map[string]any
		dec := json.NewDecoder(strings.NewReader(f.metadata))
		dec.UseNumber()
		if err := dec.Decode(&metadata); err != nil {
			panic(err)
		}
		features = append(features, policy.NewFeature(f.name, "default", tiergate.Boolean, true, f.tiers, f.percentage, metadata))
	}
	for _, row := range teamRows {
		var team *policy.Team
		if row != nil {
			team = policy.NewTeam(row)
		}
		teams = append(teams, team)
	}
}

// scalars hold each type, and numbers that look or convert alike.
var scalars = []string{
	"null", "true", "false", "0", "-0", "1", "1.0", "1e0", "10e-1", "9007199254740992", "9007199254740993", "9007199254740993.0",
	"123456789012345678901234567890", "1e400", `""`, `"1"`, `"a"`, `"b"`, `"é"`, "[]", "{}",
}

func drawScalar(rt *rapid.T) string {
	return scalars[rapid.IntRange(0, len(scalars)-1).Draw(rt, "scalar")]
}

// drawJSON draws a value, "" for undefined.
func drawJSON(rt *rapid.T) string {
	switch rapid.IntRange(0, 9).Draw(rt, "shape") {
	case 0:
		return ""
	case 1, 2, 3, 4:
		return drawScalar(rt)
	case 5:
		return "[" + drawScalar(rt) + "," + drawScalar(rt) + "]"
	case 6:
		return `[{"b":` + drawScalar(rt) + `}]`
	case 7:
		return `{"b":{"c":` + drawScalar(rt) + `}}`
	case 8:
		return `{"c":` + drawScalar(rt) + `,"b":` + drawScalar(rt) + `}`
	}
	return `{"b":` + drawScalar(rt) + `}`
}

var attributeNames = []string{"a", "b", "c", "d.e", "tier", "team"}

func drawTier(rt *rapid.T) string {
	return rapid.SampledFrom([]string{"", "free", "pro", "enterprise", "gold"}).Draw(rt, "tier")
}

func drawQuestion(rt *rapid.T) question {
	q := question{attributes: map[string]string{}}
	for part := range questionParts {
		q.change(rt, part)
	}
	return q
}

const questionParts = 7 + 6

// change draws one part of the question anew.
func (q *question) change(rt *rapid.T, part int) {
	switch part {
	case 0:
		q.feature = rapid.IntRange(0, len(features)-1).Draw(rt, "feature")
	case 1:
		q.user = rapid.SampledFrom([]string{"", "alice", "bob"}).Draw(rt, "user")
	case 2:
		q.userTier, q.teamTier = drawTier(rt), drawTier(rt)
	case 3:
		q.userAttrs = rapid.SampledFrom([]string{"", "{}", "nonsense", "x"}).Draw(rt, "user attributes")
		if q.userAttrs == "x" {
			q.userAttrs = "{}"
			if v := drawJSON(rt); v != "" {
				q.userAttrs = `{"z":1,"a":` + v + `}`
			}
		}
	case 4:
		q.team = rapid.IntRange(0, len(teams)-1).Draw(rt, "team")
		q.role = rapid.SampledFrom([]string{"", "OWNER", "MEMBER"}).Draw(rt, "role")
	case 5:
		q.key = rapid.IntRange(0, len(keyRows)-1).Draw(rt, "key")
	case 6:
		q.clock = policy.Clock{Year: 2026, Month: 2, Day: 3, Weekday: rapid.IntRange(0, 1).Draw(rt, "weekday"), Hour: rapid.IntRange(0, 1).Draw(rt, "hour")}
	default:
		attributes := maps.Clone(q.attributes)
		name := attributeNames[(part-7)%len(attributeNames)]
		if attributes[name] = drawJSON(rt); attributes[name] == "" {
			delete(attributes, name)
		}
		q.attributes = attributes
	}
}

// twins are values that are easily taken for one another.
var twins = [][2]string{
	{"9007199254740993", "9007199254740992"}, {"9007199254740992", "9007199254740993"}, {`"1"`, "1"}, {"null", "false"}, {"{}", "[]"}, {`""`, "null"},
}

// twist replaces a value by its twin in one attribute, or an attribute that is there by
// null, or one that is not by an empty object.
func (q *question) twist(rt *rapid.T) {
	attributes := maps.Clone(q.attributes)
	defer func() { q.attributes = attributes }()
	name := rapid.SampledFrom(attributeNames[:4]).Draw(rt, "twisted")
	have, ok := attributes[name]
	if !ok {
		attributes[name] = rapid.SampledFrom([]string{"{}", "null", "9007199254740992", `{"b":9007199254740993}`}).Draw(rt, "from nothing")
		return
	}
	for _, pair := range twins {
		if strings.Contains(have, pair[0]) {
			attributes[name] = strings.Replace(have, pair[0], pair[1], 1)
			return
		}
	}
	attributes[name] = "null"
}

func (q *question) attributesJSON(leaveOut ...string) string {
	var parts []string
	for _, name := range attributeNames {
		if v, ok := q.attributes[name]; ok && !slices.Contains(leaveOut, name) {
			parts = append(parts, fmt.Sprintf("%q:%s", name, v))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// input is the question for the engine. It lives until the parser is used again.
func (q *question) input(p *jsonvalue.Parser) *policy.Input {
	v, err := p.Parse([]byte(q.attributesJSON()))
	if err != nil {
		panic(err)
	}
	in := &policy.Input{
		Feature: features[q.feature], Attributes: v, Clock: q.clock,
		Subject: policy.Subject{UserID: q.user, Team: teams[q.team], Key: keyRows[q.key]},
	}
	if q.user != "" {
		in.Subject.UserTier, in.Subject.TeamTier, in.Subject.UserAttributes = q.userTier, q.teamTier, q.userAttrs
	}
	if q.team != 0 && q.user != "" {
		in.Subject.Role = q.role
	}
	return in
}

// document is the question as the whole input document, with the tier when it is resolved.
func (q *question) document(tier *string) string {
	text := func(x any) string {
		b, err := json.Marshal(x)
		if err != nil {
			panic(err)
		}
		return string(b)
	}
	var subject, attributes []string
	if q.user != "" {
		own := q.userAttrs
		if !json.Valid([]byte(own)) {
			own = "{}"
		}
		subject = append(subject, fmt.Sprintf(`"user":{"id":%q,"tier":%q,"teamTier":%q,"attributes":%s}`, q.user, q.userTier, q.teamTier, own))
	}
	if row := teamRows[q.team]; row != nil {
		role := ""
		if q.role != "" && q.user != "" {
			role = fmt.Sprintf(`,"role":%q`, q.role)
		}
		subject = append(subject, fmt.Sprintf(`"team":{"id":%q,"tier":%q,"status":%q,"byKey":%t,"settings":%s%s}`, row.ID, row.Tier, row.Status,
			q.key != 0 && keyRows[q.key].TeamID == row.ID, text(row.Settings), role))
		speaks := role != "" || q.user == "" || q.key != 0 && keyRows[q.key].TeamID == row.ID // anybody may name any team
		if speaks && row.Status == "active" {
			attributes = append(attributes, fmt.Sprintf(`"team":%q`, row.ID))
		}
	}
	if key := keyRows[q.key]; key != nil {
		subject = append(subject, fmt.Sprintf(`"key":{"id":%q,"scopes":%s}`, key.ID, text(key.Scopes)))
	}
	if tier != nil {
		subject = append(subject, fmt.Sprintf(`"tier":%q`, *tier))
		attributes = append(attributes, fmt.Sprintf(`"tier":%q`, *tier))
	}
	if rest := strings.Trim(q.attributesJSON("tier", "team"), "{}"); rest != "" {
		attributes = append(attributes, q.attributesJSON("tier", "team")[1:len(q.attributesJSON("tier", "team"))-1])
	}
	f := featureRows[q.feature]
	if f.tiers == nil {
		f.tiers = []string{}
	}
	return fmt.Sprintf(`{"feature":{"name":%q,"set":"default","type":"boolean","enabled":true,"tiers":%s,"percentage":%v,"metadata":%s},"subject":{%s},"attributes":{%s},"clock":%s}`,
		f.name, text(f.tiers), f.percentage, f.metadata, strings.Join(subject, ","), strings.Join(attributes, ","),
		fmt.Sprintf(`{"year":%d,"month":%d,"day":%d,"weekday":%d,"hour":%d}`, q.clock.Year, q.clock.Month, q.clock.Day, q.clock.Weekday, q.clock.Hour))
}
