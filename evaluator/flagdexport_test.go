package evaluator_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/evaluator/targeting"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/internal/flagd"
	"github.com/tiergate/tiergate/policy"
)

func export(tb testing.TB, e *evaluator.Engine, set string) *tiergate.FlagDocument {
	tb.Helper()
	doc, err := e.Export(set)
	if err != nil {
		tb.Fatalf("Export(%q): %v", set, err)
	}
	if !json.Valid([]byte(doc.JSON)) {
		tb.Fatalf("Export(%q) is not JSON: %s", set, doc.JSON)
	}
	return doc
}

// exported is the definition of one flag in a document, without the version that it was given.
func exported(tb testing.TB, doc *tiergate.FlagDocument, name string) string {
	tb.Helper()
	var d struct{ Flags map[string]json.RawMessage }
	if err := json.Unmarshal([]byte(doc.JSON), &d); err != nil {
		tb.Fatal(err)
	}
	definition := givenVersion.ReplaceAllString(string(d.Flags[name]), "")
	return strings.Replace(definition, `,"metadata":{}`, "", 1)
}

var givenVersion = regexp.MustCompile(`"version":"[0-9a-f]{12}",?|,"version":"[0-9a-f]{12}"`)

// Tiers, percentage, targeting and the two variants become one rule and a default variant.
func TestExport_compiles_flags(t *testing.T) {
	const (
		onOff = `"variants":{"off":false,"on":true}`
		pro   = `{"in":[{"var":"tier"},["pro","enterprise"]]}`
		half  = `{"==":[{"fractional":[["in",50000],["out",50000]]},"in"]}`
		rule  = `{"var":"plan"}`
	)
	tiers := func(f *tiergate.Flag) { f.Rules.Tiers = []string{"pro", "enterprise"} }
	percent := func(p float64) func(*tiergate.Flag) { return func(f *tiergate.Flag) { f.Rules.Percentage = p } }
	targeting := func(f *tiergate.Flag) { f.Rules.Targeting = raw(`{"var": "plan"}`) }
	noDefault := func(f *tiergate.Flag) { f.DefaultVariant = "" }
	noOff := func(f *tiergate.Flag) { f.OffVariant = "" }
	for story, tc := range map[string]struct {
		edits []func(*tiergate.Flag)
		want  string
	}{
		"a flag for everybody has no rule":                 {nil, `"defaultVariant":"on"`},
		"a flag for nobody is the off variant":             {[]func(*tiergate.Flag){percent(0)}, `"defaultVariant":"off"`},
		"for nobody and without an off variant":            {[]func(*tiergate.Flag){percent(0), noOff}, ``},
		"without a default variant":                        {[]func(*tiergate.Flag){noDefault}, ``},
		"targeting alone stays as it is":                   {[]func(*tiergate.Flag){targeting}, `"defaultVariant":"on","targeting":` + rule},
		"tiers":                                            {[]func(*tiergate.Flag){tiers}, `"defaultVariant":"on","targeting":{"if":[` + pro + `,"on","off"]}`},
		"a share":                                          {[]func(*tiergate.Flag){percent(50)}, `"defaultVariant":"on","targeting":{"if":[` + half + `,"on","off"]}`},
		"tiers, and a share of them":                       {[]func(*tiergate.Flag){tiers, percent(50)}, `"defaultVariant":"on","targeting":{"if":[{"and":[` + pro + `,` + half + `]},"on","off"]}`},
		"tiers and targeting":                              {[]func(*tiergate.Flag){tiers, targeting}, `"defaultVariant":"on","targeting":{"if":[` + pro + `,` + rule + `,"off"]}`},
		"tiers, and no default":                            {[]func(*tiergate.Flag){tiers, noDefault}, `"targeting":{"if":[` + pro + `,null,"off"]}`},
		"tiers, and no off variant":                        {[]func(*tiergate.Flag){tiers, noOff}, `"targeting":{"if":[` + pro + `,"on",null]}`},
		"tiers, targeting, and no off variant":             {[]func(*tiergate.Flag){tiers, targeting, noOff}, `"targeting":{"if":[` + pro + `,{"if":[{"===":[` + rule + `,null]},"on",` + rule + `]},null]}`},
		"tiers, targeting, and neither variant":            {[]func(*tiergate.Flag){tiers, targeting, noOff, noDefault}, `"targeting":{"if":[` + pro + `,` + rule + `,null]}`},
		"nobody of some tiers":                             {[]func(*tiergate.Flag){tiers, percent(0)}, `"defaultVariant":"off","targeting":{"if":[true,"off",null]}`},
		"tiers that do not exist":                          {[]func(*tiergate.Flag){func(f *tiergate.Flag) { f.Rules.Tiers = []string{"mega"} }}, `"defaultVariant":"off","targeting":{"if":[true,"off",null]}`},
		"tiers of which some exist":                        {[]func(*tiergate.Flag){func(f *tiergate.Flag) { f.Rules.Tiers = []string{"mega", "pro", "enterprise"} }}, `"defaultVariant":"on","targeting":{"if":[` + pro + `,"on","off"]}`},
		"targeting that is a word":                         {[]func(*tiergate.Flag){func(f *tiergate.Flag) { f.Rules.Targeting = raw(`"off"`) }}, `"defaultVariant":"on","targeting":{"if":[true,"off",null]}`},
		"its own metadata":                                 {[]func(*tiergate.Flag){func(f *tiergate.Flag) { f.Metadata = map[string]any{"b": 1, "a": "x"} }}, `"defaultVariant":"on","metadata":{"a":"x","b":1}`},
		"a boolean flag has on and off without being told": {[]func(*tiergate.Flag){func(f *tiergate.Flag) { f.Variants = nil }}, `"defaultVariant":"on"`},
	} {
		t.Run(story, func(t *testing.T) {
			e := demo(t, boolean("x", func(f *tiergate.Flag) {
				for _, edit := range tc.edits {
					edit(f)
				}
			}))
			want := strings.TrimSuffix(`{"state":"ENABLED",`+onOff+`,`+tc.want, ",") + `}`
			doc := export(t, e, "")
			if diff := cmp.Diff(want, exported(t, doc, "x")); diff != "" {
				t.Errorf("%s: mismatch (-want +got):\n%s", story, diff)
			}
			if len(doc.Withheld) > 0 {
				t.Errorf("%s: withheld %v", story, doc.Withheld)
			}
		})
	}
}

// A flag that is metered is not static here, and so has a rule there.
func TestExport_metered_is_not_static(t *testing.T) {
	limit := &tiergate.Limit{ID: "l", Key: "l", Feature: "x", Kind: tiergate.Quota, Period: "day", Scope: "team"}
	doc := export(t, demo(t, boolean("x", nil), tiergate.PutOf(limit)), "")
	if got, want := exported(t, doc, "x"), `"targeting":{"if":[true,"on",null]}`; !strings.Contains(got, want) {
		t.Errorf("the flag is %s, without %s", got, want)
	}
}

// A flag that is switched off says so and no more; one that cannot be used is switched off and listed.
func TestExport_disabled_and_quarantined(t *testing.T) {
	bad := func(f *tiergate.Flag) { f.Rules.Targeting = raw(`{"no such operator":[]}`) }
	doc := export(t, demo(t,
		boolean("disabled", func(f *tiergate.Flag) { f.Enabled = false; f.Rules.Targeting = raw(`{"var":"plan"}`) }),
		boolean("broken", bad),
		boolean("broken-number", func(f *tiergate.Flag) { bad(f); f.Type = tiergate.Number; f.Variants = nil }),
		boolean("broken-and-disabled", func(f *tiergate.Flag) { bad(f); f.Enabled = false }),
	), "")
	for name, want := range map[string]string{
		"disabled":            `{"state":"DISABLED","variants":{"off":false,"on":true},"defaultVariant":"on"}`,
		"broken":              `{"state":"DISABLED","variants":{"none":false},"metadata":{"withheld":"quarantine"}}`,
		"broken-number":       `{"state":"DISABLED","variants":{"none":0},"metadata":{"withheld":"quarantine"}}`,
		"broken-and-disabled": `{"state":"DISABLED","variants":{"none":false}}`,
	} {
		if got := exported(t, doc, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	want := []tiergate.WithheldFlag{{Name: "broken", Why: tiergate.WithheldByQuarantine}, {Name: "broken-number", Why: tiergate.WithheldByQuarantine}}
	if diff := cmp.Diff(want, doc.Withheld); diff != "" {
		t.Errorf("withheld (-want +got):\n%s", diff)
	}
}

// A policy that denies, asks who is calling, or picks a variant for some, leaves the off
// variant; one that says the same to everybody is followed.
func TestExport_withholds_what_a_policy_may_deny(t *testing.T) {
	const withheld = `"defaultVariant":"off","targeting":{"if":[true,"off",null]},"metadata":{"withheld":"policy"}`
	for story, tc := range map[string]struct{ rules, want string }{
		"denied to all":               {`decision := {"allow": false, "reason": "closed"}`, withheld},
		"denied to some":              {"default decision := {\"allow\": true, \"reason\": \"r\"}\n\ndecision := {\"allow\": false, \"reason\": \"r\"} if input.attributes.country == \"NL\"", withheld},
		"denied at times":             {"default decision := {\"allow\": true, \"reason\": \"r\"}\n\ndecision := {\"allow\": false, \"reason\": \"r\"} if input.clock.hour > 12", withheld},
		"by the tier":                 {"default decision := {\"allow\": true, \"reason\": \"r\"}\n\ndecision := {\"allow\": false, \"reason\": \"r\"} if input.subject.tier == \"free\"", withheld},
		"no decision":                 {`decision := "yes"`, withheld},
		"a variant that is not there": {`decision := {"allow": true, "reason": "r", "variant": "nope"}`, withheld},
		"a variant for some":          {"default decision := {\"allow\": true, \"reason\": \"r\"}\n\ndecision := {\"allow\": true, \"reason\": \"r\", \"variant\": \"on\"} if input.subject.user.id == \"alice\"", withheld},
		"a variant for all":           {`decision := {"allow": true, "reason": "r", "variant": "off"}`, `"defaultVariant":"on","targeting":{"if":[true,"off",null]}`},
		"allowed to all":              {`decision := {"allow": true, "reason": "r"}`, `"defaultVariant":"on","targeting":{"if":[true,"on",null]}`},
		"by the feature alone":        {"default decision := {\"allow\": false, \"reason\": \"r\"}\n\ndecision := {\"allow\": true, \"reason\": \"r\"} if input.feature.name == \"x\"", `"defaultVariant":"on","targeting":{"if":[true,"on",null]}`},
	} {
		t.Run(story, func(t *testing.T) {
			gated := func(f *tiergate.Flag) { f.Rules.Tiers = []string{"pro"} }
			e := demo(t, boolean("x", gated), bundle(1, "package tiergate.access\n\n"+tc.rules+"\n", nil))
			doc := export(t, e, "")
			if got, want := exported(t, doc, "x"), `{"state":"ENABLED","variants":{"off":false,"on":true},`+tc.want+`}`; got != want {
				t.Errorf("%s:\n got %s\nwant %s", story, got, want)
			}
			listed := slices.Contains(doc.Withheld, tiergate.WithheldFlag{Name: "x", Why: tiergate.WithheldByPolicy})
			if listed != (tc.want == withheld) || doc.Incomplete {
				t.Errorf("%s: withheld %v, incomplete %v", story, doc.Withheld, doc.Incomplete)
			}
		})
	}
}

// Where the tier depends on the feature no context can name it: what has tiers is withheld.
func TestExport_withholds_where_the_tier_depends_on_the_feature(t *testing.T) {
	tier := bundle(1, "", func(b *tiergate.PolicyBundle) {
		b.Modules["tier.rego"] = "package tiergate.subject\n\ndefault tier := \"free\"\n\ntier := \"pro\" if input.feature.name == \"x\"\n"
		b.Hash = tiergate.ModulesHash(b.Modules)
	})
	doc := export(t, demo(t, tier, boolean("open", nil), boolean("x", func(f *tiergate.Flag) { f.Rules.Tiers = []string{"pro"} })), "")
	if got := exported(t, doc, "open"); strings.Contains(got, "withheld") {
		t.Errorf("the flag for every tier is %s", got)
	}
	if got := exported(t, doc, "x"); !strings.Contains(got, `"withheld":"policy"`) {
		t.Errorf("the flag with tiers is %s", got)
	}
}

// A document is the same bytes wherever it is made, and says which set it is.
func TestExport_is_the_same_everywhere(t *testing.T) {
	set := tiergate.PutOf(&tiergate.FlagSet{Name: "web", Metadata: map[string]any{"owner": "web", "flagSetId": "lies"}})
	flag := func(name string) tiergate.Change {
		return boolean(name, func(f *tiergate.Flag) { f.Set = "web" })
	}
	one := demo(t, set, flag("a"), flag("b"), flag("c"))
	other := demo(t, flag("c"), flag("b"))
	apply(t, other, step(2, flag("d")))
	apply(t, other, step(3, set, flag("a"), tiergate.Change{Kind: tiergate.KindFlag, Key: flag("d").Key}))
	a, b := export(t, one, "web"), export(t, other, "web")
	if diff := cmp.Diff(a.JSON, b.JSON); diff != "" {
		t.Errorf("two sidecars (-one +other):\n%s", diff)
	}
	if want := `"metadata":{"flagSetId":"web","owner":"web"}}`; !strings.HasSuffix(a.JSON, want) {
		t.Errorf("the document is %s, which does not end with %s", a.JSON, want)
	}
}

// A flag's version is another when its definition is, or a shared rule that it names, and at no
// other time: clients name what is different as changed. A version of one's own stays.
func TestExport_gives_each_flag_a_version_of_its_own(t *testing.T) {
	set := func(share int, metadata map[string]any) tiergate.Change {
		shared := fmt.Sprintf(`{"fractional":[["on",%d],["off",1]]}`, share)
		return tiergate.PutOf(&tiergate.FlagSet{Name: "web", Metadata: metadata, Evaluators: map[string]json.RawMessage{
			"share": json.RawMessage(shared), "within": json.RawMessage(`{"if":[true,{"$ref":"share"}]}`), "other": json.RawMessage(`{"if":[true,"on"]}`),
		}})
	}
	flag := func(name string, with func(f *tiergate.Flag)) tiergate.Change {
		return boolean(name, func(f *tiergate.Flag) {
			if f.Set = "web"; with != nil {
				with(f)
			}
		})
	}
	refers := func(rule string) func(*tiergate.Flag) {
		return func(f *tiergate.Flag) { f.Rules.Targeting = json.RawMessage(`{"$ref":"` + rule + `"}`) }
	}
	owned := func(f *tiergate.Flag) { f.Metadata = map[string]any{"version": "7"} }
	e := demo(t, set(1, nil), flag("plain", nil), flag("refers", refers("share")),
		flag("deep", refers("within")), flag("apart", refers("other")), flag("owned", owned), flag("tiered", nil))
	before := versionsOf(t, export(t, e, "web"))
	if before["owned"] != "7" || len(before["plain"]) != 12 || before["plain"] != before["tiered"] || before["plain"] == before["refers"] {
		t.Errorf("the versions are %v", before)
	}
	differ := func(rev int64, want []string, changes ...tiergate.Change) {
		t.Helper()
		apply(t, e, step(rev, changes...))
		after := versionsOf(t, export(t, e, "web"))
		var got []string
		for _, name := range slices.Sorted(maps.Keys(after)) {
			if after[name] != before[name] {
				got = append(got, name)
			}
		}
		if before = after; !slices.Equal(got, want) {
			t.Errorf("revision %d gives %v another version, want %v", rev, got, want)
		}
	}
	differ(2, []string{"tiered"}, flag("tiered", func(f *tiergate.Flag) { f.Rules.Tiers = []string{"pro"} }))
	differ(3, []string{"deep", "refers"}, set(2, nil))
	differ(4, []string{"new"}, flag("new", nil))
	differ(5, []string{"plain"}, flag("plain", func(f *tiergate.Flag) { f.Metadata = map[string]any{"owner": "web"} }))
	differ(6, []string{"apart", "deep", "new", "plain", "refers", "tiered"}, set(2, map[string]any{"version": "set's"})) // who has none has the set's
	if before["plain"] != "" {
		t.Errorf("beside the set's version the versions are %v", before)
	}
}

func versionsOf(tb testing.TB, doc *tiergate.FlagDocument) map[string]string {
	tb.Helper()
	var d struct {
		Flags map[string]struct{ Metadata struct{ Version string } }
	}
	if err := json.Unmarshal([]byte(doc.JSON), &d); err != nil {
		tb.Fatal(err)
	}
	versions := map[string]string{}
	for name, f := range d.Flags {
		versions[name] = f.Metadata.Version
	}
	return versions
}

// Nothing is made anew until something about the set is different.
func TestExport_remakes_what_changed_only(t *testing.T) {
	e := newEngine(evaluator.Options{})
	if _, err := e.Export(""); tiergate.CodeOf(err) != tiergate.Unavailable {
		t.Errorf("before the first generation: %v", err)
	}
	elsewhere := boolean("x", func(f *tiergate.Flag) { f.Set = "web" })
	e = demo(t, elsewhere)
	before := export(t, e, "")
	apply(t, e, step(2, tiergate.PutOf(&tiergate.User{ID: "eve", Tier: "pro"}), elsewhere))
	if export(t, e, "") != before {
		t.Error("another user and a flag of another set made another document")
	}
	apply(t, e, step(3, tiergate.PutOf(&tiergate.Tier{Key: "mega", Name: "Mega", Rank: 99})))
	if export(t, e, "") != before {
		t.Error("a tier that no flag has made another document")
	}
	apply(t, e, step(4, boolean("x", nil)))
	if export(t, e, "") == before {
		t.Error("another flag made no other document")
	}
	before = export(t, e, "")
	apply(t, e, step(5, bundle(1, denyAll, nil)))
	denied := export(t, e, "")
	if len(denied.Withheld) == 0 {
		t.Errorf("under a policy that denies everything the document is %s", denied.JSON)
	}
	apply(t, e, step(6, bundle(2, "", nil)))
	if after := export(t, e, ""); after.JSON != before.JSON {
		t.Errorf("under the built-in policy again the document is %s", after.JSON)
	}
	none := export(t, e, "no-such-set")
	if want := `{"flags":{},"metadata":{"flagSetId":"no-such-set"}}`; none.JSON != want {
		t.Errorf("a set that does not exist is %s", none.JSON)
	}
}

// What the policy has no time to say is withheld for now, and the document says so.
func TestExport_is_incomplete_while_the_policy_has_no_time(t *testing.T) {
	e := evaluator.New(evaluator.Options{Policy: policy.Settings{Deadline: 1}})
	const slow = `package tiergate.access

digits := [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]

decision := {"allow": true, "reason": "r"} if {
	count([1 | some a in digits; some b in digits; some c in digits; some d in digits; some e in digits; a + b + c + d + e > 44]) == 1
}
`
	apply(t, e, whole(1, append(conformance.Demo(), bundle(1, slow, nil), boolean("x", nil))...))
	doc := export(t, e, "")
	if got := exported(t, doc, "x"); !doc.Incomplete || !strings.Contains(got, `"withheld":"policy"`) {
		t.Errorf("incomplete is %v, and the flag %s", doc.Incomplete, got)
	}
}

// Documents are whole, and the last one is of the last revision, however many ask meanwhile.
func TestExport_while_revisions_come(t *testing.T) {
	e := demo(t)
	const last = 200
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for n := int64(0); n < last; {
				n = e.Current().Resume().Rev
				doc, err := e.Export("")
				if err != nil || !json.Valid([]byte(doc.JSON)) {
					t.Errorf("at revision %d: %v, %v", n, doc, err)
				}
			}
		})
	}
	for rev := int64(2); rev <= last; rev++ {
		apply(t, e, step(rev, boolean("x", func(f *tiergate.Flag) { f.Metadata = map[string]any{"rev": rev} })))
	}
	asking.Wait()
	if got := exported(t, export(t, e, ""), "x"); !strings.Contains(got, `{"rev":200}`) {
		t.Errorf("the flag is %s", got)
	}
}

// Shared rules stay shared where every flagd puts them in place alike, and are in place elsewhere.
func TestExport_shared_rules(t *testing.T) {
	set := func(more ...string) tiergate.Change {
		s := &tiergate.FlagSet{Name: tiergate.DefaultSet, Evaluators: map[string]json.RawMessage{
			"staff":     raw(`{ "ends_with": [{"var":"email"}, "@faas.com"] }`),
			"nested":    raw(`{"if":[{"$ref":"staff"},"on",{"$ref":"plan"}]}`),
			"plan":      raw(`{"var":"plan"}`),
			"clock":     raw(`{"<":[{"var":"$flagd.timestamp"},5]}`),
			"word":      raw(`"on"`),
			"a.b":       raw(`{"var":"a"}`),
			"backslash": raw(`{"var":"a\\.b"}`),
			"itself":    raw(`{"!":[{"$ref":"itself"}]}`),
			"lost":      raw(`{"!":[{"$ref":"no such rule"}]}`),
		}}
		return tiergate.PutOf(s)
	}
	rule := func(name, text string) tiergate.Change {
		return boolean(name, func(f *tiergate.Flag) { f.Rules.Targeting = raw(text) })
	}
	rules := []tiergate.Change{
		rule("named", `{"if":[{"$ref":"nested"},"on",{"$ref":"staff"}]}`),
		rule("in-place", `{"if":[{"$ref":"clock"},{"$ref":"word"},{"$ref":"a.b"},{"$ref":"backslash"},{"\u0024ref":"plan"}]}`),
	}
	doc := export(t, demo(t, append(rules, set())...), "")
	const members = `"$evaluators":{` +
		`"nested":{"if":[{"ends_with":[{"var":"email"},"@faas.com"]},"on",{"var":"plan"}]},` +
		`"plan":{"var":"plan"},"staff":{"ends_with":[{"var":"email"},"@faas.com"]}}`
	if !strings.Contains(doc.JSON, members) {
		t.Errorf("the document is %s, without %s", doc.JSON, members)
	}
	for name, want := range map[string]string{
		"named":    `"targeting":{"if":[{"$ref":"nested"},"on",{"$ref":"staff"}]}`,
		"in-place": `"targeting":{"if":[{"<":[{"var":"$flagd.timestamp"},5]},"on",{"var":"a"},{"var":"a\\.b"},{"$ref":"plan"}]}`,
	} {
		if got := exported(t, doc, name); !strings.Contains(got, want) {
			t.Errorf("%s is %s, without %s", name, got, want)
		}
	}

	// What looks like a reference and is a value must stay one.
	value := boolean("value", func(f *tiergate.Flag) {
		f.Type, f.Variants = tiergate.Object, map[string]json.RawMessage{"on": raw(`{"$ref":"staff"}`), "off": raw(`{}`)}
	})
	doc = export(t, demo(t, append(rules, set(), value)...), "")
	if strings.Contains(doc.JSON, "$evaluators") || !strings.Contains(exported(t, doc, "named"), `{"ends_with":[{"var":"email"},"@faas.com"]}`) {
		t.Errorf("beside a value that looks like a reference the document is %s", doc.JSON)
	}
}

// A rule that becomes too large is withheld, a document that does is refused.
func TestExport_is_bounded(t *testing.T) {
	long := raw(`{"==":[{"var":"$flagd.flagKey"},"` + strings.Repeat("x", 100_000) + `"]}`)
	set := tiergate.PutOf(&tiergate.FlagSet{Name: tiergate.DefaultSet, Evaluators: map[string]json.RawMessage{"long": long}})
	many := boolean("many", func(f *tiergate.Flag) {
		f.Rules.Targeting = raw(`{"or":[` + strings.TrimSuffix(strings.Repeat(`{"$ref":"long"},`, 20), ",") + `]}`)
	})
	doc := export(t, demo(t, set, many), "")
	if got, want := exported(t, doc, "many"), `"defaultVariant":"off","targeting":{"if":[true,"off",null]},"metadata":{"withheld":"size"}`; !strings.Contains(got, want) {
		t.Errorf("a rule of 2 MB is %.300s", got)
	}
	var flags []tiergate.Change
	for i := range 600 {
		flags = append(flags, boolean(name("large", i), func(f *tiergate.Flag) {
			f.Type, f.DefaultVariant, f.OffVariant = tiergate.String, "on", "on"
			f.Variants = map[string]json.RawMessage{"on": raw(`"` + strings.Repeat("x", 120_000) + `"`)}
		}))
	}
	if _, err := demo(t, flags...).Export(""); tiergate.CodeOf(err) != tiergate.Exhausted {
		t.Errorf("a document of 72 MB: %v", err)
	}
}

// Ten thousand flags fit in what a gRPC client receives unless it is told otherwise.
func TestExport_of_10000_flags_is_small(t *testing.T) {
	var flags []tiergate.Change
	for i := range 10_000 {
		flags = append(flags, boolean(fmt.Sprintf("feature-%05d", i), func(f *tiergate.Flag) {
			f.Rules.Tiers, f.Rules.Percentage = []string{"pro", "enterprise"}, 25
		}))
	}
	doc := export(t, demo(t, flags...), "")
	if n := len(doc.JSON); n < 1<<20 || n > 4<<20-1024 {
		t.Errorf("the document has %d bytes", n)
	}
}

// document decides by a document alone, as flagd would; package flagdtest holds what is used
// here against flagd-core.
type document struct {
	flags map[string]*tiergate.Flag
	rules map[string]*targeting.Rule
}

func documentOf(tb rapid.TB, doc *tiergate.FlagDocument) *document {
	tb.Helper()
	file, err := flagd.Parse([]byte(doc.JSON))
	if err != nil || len(file.Problems) > 0 {
		tb.Fatalf("the document does not parse: %v %v", err, file.Problems)
	}
	d := &document{flags: map[string]*tiergate.Flag{}, rules: map[string]*targeting.Rule{}}
	for i := range file.Flags {
		f := &file.Flags[i]
		d.flags[f.Name] = f
		if f.Rules.Targeting == nil {
			continue
		}
		if d.rules[f.Name], err = targeting.Compile(f.Rules.Targeting, targeting.Options{Evaluators: file.Sets[0].Evaluators}); err != nil {
			tb.Fatalf("%s: %v", f.Name, err)
		}
	}
	return d
}

// variant returns the variant that a context on a tier is served, "" for the code default.
func (d *document) variant(name string, req *tiergate.Request, tier string) string {
	f := d.flags[name]
	if !f.Enabled {
		return ""
	}
	if d.rules[name] == nil {
		return f.DefaultVariant
	}
	v, err := d.rules[name].Eval(&targeting.Scope{
		Attributes: req.Attributes, FlagKey: name, UserID: req.UserID, Tier: tier, Unix: req.Now.Unix(),
	})
	if err != nil {
		return ""
	}
	variant, ok := targeting.VariantName(v)
	if !ok {
		return f.DefaultVariant
	}
	if _, ok := f.Variants[variant]; !ok {
		return ""
	}
	return variant
}

// BenchmarkExport makes the document of a set anew, as after each change of it.
func BenchmarkExport(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		var flags []tiergate.Change
		flag := func(i int, percentage float64) tiergate.Change {
			return boolean(name("feature", i), func(f *tiergate.Flag) { f.Rules.Tiers, f.Rules.Percentage = []string{"pro"}, percentage })
		}
		for i := range n {
			flags = append(flags, flag(i, 25))
		}
		e := demo(b, flags...)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rev := e.Current().Resume().Rev
			for b.Loop() {
				b.StopTimer()
				rev++
				apply(b, e, step(rev, flag(0, float64(rev%100))))
				b.StartTimer()
				if _, err := e.Export(""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
