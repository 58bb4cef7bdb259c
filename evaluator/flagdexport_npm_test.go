package evaluator_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/flagd"
	"github.com/tiergate/tiergate/internal/flagd/flagdtest"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// npm flagd-core, given an exported document and contexts that name the tier, serves what we
// decide: over all operators, with and without tiers, percentage, default and off variant.
func TestExport_decides_in_flagd_core_as_here(t *testing.T) {
	const seed = 20261129
	file, questions := flagdtest.MadeUp(t, seed)
	x := exportedFile(t, file, rand.New(rand.NewPCG(seed, 2)))
	for i := range questions {
		questions[i].Context = x.withTier(t, questions[i].Context)
	}
	doc, err := x.engine.Export("")
	if err != nil {
		t.Fatal(err)
	}
	theirs := flagdtest.Ask(t, []byte(doc.JSON), questions)
	seen := map[string]int{}
	for i, q := range questions {
		f := x.flags[q.Flag]
		d := x.decide(q)
		ours := answerOf(&d)
		excuse := x.excuse(f, &d, ours, theirs[i])
		if excuse == "" {
			if d := flagdtest.Intended(f.Rules.Targeting, q.Context, ours); d != nil {
				excuse = "intended: " + d.Name
			}
		}
		switch {
		case flagdtest.Same(ours, theirs[i]):
			seen["equal, "+string(d.Reason)]++
		case excuse != "":
			seen[excuse]++
		default:
			t.Errorf("flag %s: tiers %v, %v %%, default %q, off %q\n  rule %s\n  context %s\n  we say  %s\n  flagd   %s", q.Flag,
				f.Rules.Tiers, f.Rules.Percentage, f.DefaultVariant, f.OffVariant, f.Rules.Targeting, q.Context, asJSON(ours), asJSON(theirs[i]))
		}
	}
	for what, least := range map[string]int{
		"equal, TARGETING_MATCH": 2000, "equal, DEFAULT": 500, "equal, STATIC": 5, "equal, DISABLED": 40,
		excuseQuarantined: 10, excuseOutside: 10, excuseReason: 20,
	} {
		if seen[what] < least {
			t.Errorf("%s: %d pairs, want at least %d", what, seen[what], least)
		}
	}
	t.Logf("%d pairs: %v", len(questions), seen)
}

const (
	// A definition that cannot be used is an error here, and switched off there: either way
	// the code default applies, and there one bad rule cannot make a client refuse the file.
	excuseQuarantined = "quarantined"
	// A rule that fails for somebody outside the share is an error here; there it is not looked at.
	excuseOutside = "fails outside the share"
	// Where null means the code default, the rule names the default variant itself.
	excuseReason = "default named by the rule"
)

// excuse says why an answer may be another than ours, "" when it may not.
func (x *exportTest) excuse(f *tiergate.Flag, d *tiergate.Decision, ours, theirs flagdtest.Answer) string {
	switch {
	case d.ErrorCode == tiergate.ParseError:
		if flagdtest.Same(theirs, flagdtest.Answer{Reason: "DISABLED"}) {
			return excuseQuarantined
		}
	case d.ErrorCode == tiergate.General && f.Rules.Percentage < 100:
		if theirs.ErrorCode == "" && theirs.Variant == f.OffVariant {
			return excuseOutside
		}
	case d.Reason == tiergate.ReasonDefault && f.OffVariant == "" && f.DefaultVariant != "":
		if ours.Reason = "TARGETING_MATCH"; flagdtest.Same(ours, theirs) {
			return excuseReason
		}
	}
	return ""
}

// An exportTest is a flag file in an engine, its flags changed so that there is something to compile.
type exportTest struct {
	*rand.Rand
	engine *evaluator.Engine
	flags  map[string]*tiergate.Flag
}

func exportedFile(t *testing.T, file []byte, r *rand.Rand) *exportTest {
	t.Helper()
	parsed, err := flagd.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	x := &exportTest{Rand: r, engine: newEngine(evaluator.Options{TrustContextTier: true}), flags: map[string]*tiergate.Flag{}}
	changes := []tiergate.Change{tiergate.PutOf(&parsed.Sets[0])}
	for rank, key := range []string{"free", "pro", "enterprise"} {
		changes = append(changes, tiergate.PutOf(&tiergate.Tier{Key: key, Name: key, Rank: rank}))
	}
	for i := range parsed.Flags {
		f := &parsed.Flags[i]
		x.change(f)
		x.flags[f.Name] = f
		changes = append(changes, tiergate.PutOf(f))
	}
	apply(t, x.engine, whole(1, changes...))
	return x
}

// change draws tiers, percentage, default and off variant.
func (x *exportTest) change(f *tiergate.Flag) {
	f.Rules.Tiers = [][]string{{}, {}, {"pro"}, {"free", "pro"}, {"enterprise"}}[x.IntN(5)]
	f.Rules.Percentage = []float64{100, 100, 100, 0, 0.001, 12.345, 50, 99.999}[x.IntN(8)]
	f.OffVariant = []string{"", "off", "a"}[x.IntN(3)]
	f.DefaultVariant = []string{"", "on", "b"}[x.IntN(3)]
}

// withTier adds a tier to a context.
func (x *exportTest) withTier(t *testing.T, context json.RawMessage) json.RawMessage {
	t.Helper()
	c := map[string]json.RawMessage{}
	if err := json.Unmarshal(context, &c); err != nil {
		t.Fatal(err)
	}
	c["tier"] = raw([]string{`"free"`, `"pro"`, `"enterprise"`}[x.IntN(3)])
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (x *exportTest) decide(q flagdtest.Question) tiergate.Decision {
	context, err := jsonvalue.Parse(q.Context)
	if err != nil {
		panic(err)
	}
	user := ""
	if key := context.Field("targetingKey"); key.Kind() == tiergate.StringValue {
		user = key.Text()
	}
	return x.engine.Generation().Decide(&tiergate.Request{
		Flag: q.Flag, UserID: user, Attributes: context, Now: time.Unix(q.Now, 0),
	})
}

func answerOf(d *tiergate.Decision) flagdtest.Answer {
	return flagdtest.Answer{Variant: d.Variant, Value: d.Value, Reason: string(d.Reason), ErrorCode: string(d.ErrorCode)}
}

func asJSON(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}
