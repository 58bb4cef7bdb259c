package policy_test

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// A generator writes random policies that read the input in every way that Rego has. It
// counts how often it used each.
type generator struct {
	rt     *rapid.T
	counts map[string]int
	rules  strings.Builder // of the package that is being written
	helper strings.Builder // of package tiergate.helper
	bare   bool            // this package may read the whole input
}

type construct struct {
	name  string
	write func(g *generator, n int)
}

// wholeInput is the construct that makes an answer depend on everything, so that it is never
// remembered. Packages that use it use nothing else, and most do not.
const wholeInput = "function given all of input"

// constructs are what the generator must have used, each well over a few hundred times.
var constructs = []construct{
	{"alias of input", (*generator).alias},
	{"not on an alias", (*generator).notAlias},
	{"function given part of input", (*generator).function},
	{wholeInput, (*generator).functionOfAll},
	{"with on input", (*generator).withInput},
	{"with on data", (*generator).withData},
	{"with on a function", (*generator).withFunction},
	{"comprehension", (*generator).comprehension},
	{"every", (*generator).every},
	{"else chain", (*generator).elseChain},
	{"dynamic input ref", (*generator).dynamicInput},
	{"dynamic data ref", (*generator).dynamicData},
	{"partial rule", (*generator).partialRule},
	{"general ref head", (*generator).generalHead},
}

func (g *generator) pick(list ...string) string {
	return list[rapid.IntRange(0, len(list)-1).Draw(g.rt, "pick")]
}

// refs are what policies read. Those at the end are rarer.
var refs = []string{
	"input.attributes.a", "input.attributes.b", "input.attributes.a.b", "input.attributes.a.b.c", "input.attributes.b.c",
	"input.attributes.c[0]", "input.attributes.c[0].b", `input.attributes["d.e"]`,
	"input.subject.user.attributes.a", "input.subject.user.attributes.a.b", "input.feature.metadata.m",
	"input.subject.user.tier", "input.subject.user.teamTier", "input.subject.tier", "input.attributes.tier", "input.attributes.team",
	"input.subject.team.role", "input.subject.team.byKey", "input.subject.team.settings.allowedFeatures", "input.subject.key.scopes",
	"input.feature.name", "input.feature.tiers", "input.feature.percentage", "input.clock.hour", "input.clock.weekday",
	"input.attributes", "input.subject.team", "input.subject.user", "input.feature", "input.subject.user.attributes", "input.nothing.here",
}

func (g *generator) ref() string {
	if g.bare && rapid.IntRange(0, 3).Draw(g.rt, "bare") == 0 {
		return "input"
	}
	return g.part()
}

// part is a ref below input.
func (g *generator) part() string {
	// Few attributes for most, so that rules and inputs meet.
	if rapid.Bool().Draw(g.rt, "attribute") {
		return g.pick(refs[:8]...)
	}
	return g.pick(refs...)
}

func (g *generator) value() string {
	return g.pick("null", "true", "false", "0", "1", "1.0", "9007199254740993", "9007199254740992", `""`, `"1"`, `"a"`, "[]", "{}", `[1]`, `{"c": 1}`)
}

func (g *generator) member() string { return g.pick(".b", ".c", ".b.c", "[0]", `["d.e"]`) }

func (g *generator) rulef(format string, args ...any) { fmt.Fprintf(&g.rules, format+"\n\n", args...) }

func (g *generator) helperf(format string, args ...any) {
	fmt.Fprintf(&g.helper, format+"\n\n", args...)
}

func (g *generator) alias(n int) {
	switch g.pick("1", "2", "3") {
	case "1":
		g.rulef("probe%d if {\n\tu := %s\n\tu%s == %s\n}", n, g.ref(), g.member(), g.value())
	case "2":
		g.rulef("probe%d := w if {\n\tu := %s\n\tv := u\n\tw := v%s\n}", n, g.ref(), g.member())
	default:
		g.rulef("probe%d := w if {\n\tu := %s\n\tw := [u, %s]\n}", n, g.ref(), g.ref())
	}
}

func (g *generator) notAlias(n int) {
	switch g.pick("1", "2", "3") {
	case "1":
		g.rulef("probe%d if {\n\tu := %s\n\tnot u%s == %s\n}", n, g.ref(), g.member(), g.value())
	case "2":
		g.rulef("probe%d if {\n\tu := %s\n\tnot u%s\n}", n, g.ref(), g.member())
	default:
		g.rulef("probe%d := u if {\n\tu := %s\n\tv := %s\n\tnot u == v\n}", n, g.ref(), g.ref())
	}
}

func (g *generator) function(n int) {
	switch g.pick("1", "2", "3") {
	case "1":
		g.rulef("f%d(x) := x%s", n, g.member())
		g.rulef("probe%d := f%d(%s)", n, n, g.part())
	case "2":
		g.rulef("f%d(x) if not x%s", n, g.member())
		g.rulef("f%d(x) := false if x%s == %s", n, g.member(), g.value())
		g.rulef("probe%d := f%d(%s)", n, n, g.part())
	default:
		g.rulef("f%d(x, y) := [x, y, %s] if x != y\n", n, g.ref())
		g.rulef("probe%d := f%d(%s, %s)", n, n, g.part(), g.part())
	}
}

func (g *generator) functionOfAll(n int) {
	member := strings.TrimPrefix(g.part(), "input")
	switch g.pick("1", "2", "3") {
	case "1":
		g.rulef("f%d(x) := x%s", n, member)
		g.rulef("probe%d := f%d(input)", n, n)
	case "2":
		g.rulef("f%d(x) if not x%s == %s", n, member, g.value())
		g.rulef("probe%d if {\n\tu := input\n\tf%d(u)\n}", n, n)
	default:
		g.rulef("f%d(x, y) := [x%s, y] if x != y", n, member)
		g.rulef("probe%d := f%d(input, %s)", n, n, g.part())
	}
}

func (g *generator) withInput(n int) {
	target := g.pick("input.attributes.a", "input.attributes.a.b", "input.attributes.b.c", "input.attributes", "input.subject.team.role",
		"input.subject.user.attributes.a", "input.nothing.here", "input.feature.metadata.m")
	g.rulef("h%d := [%s, %s]", n, g.ref(), g.ref())
	g.rulef("h%d := %s if not %s", n, g.ref(), g.ref())
	switch g.pick("1", "2", "3", "4") {
	case "1":
		g.rulef("probe%d := v if v := h%d with %s as %s", n, n, target, g.value())
	case "2":
		g.rulef("probe%d := v if v := h%d with %s as %s", n, n, target, g.ref())
	case "3":
		g.rulef("probe%d := v if v := h%d with input as {\"attributes\": {\"a\": %s}}", n, n, g.ref())
	default:
		g.rulef("probe%d if not h%d with %s as %s with input.attributes.c as %s", n, n, target, g.value(), g.ref())
	}
}

func (g *generator) withData(n int) {
	switch g.pick("1", "2", "3") {
	case "1":
		g.helperf("base%d := %s", n, g.ref())
		g.helperf("over%d := [data.tiergate.helper.base%d]", n, n)
		g.rulef("probe%d := v if v := data.tiergate.helper.over%d with data.tiergate.helper.base%d as %s", n, n, n, g.ref())
	case "2":
		g.helperf("over%d := data.tiergate.definitions.config%s", n, g.member())
		g.rulef("probe%d := v if v := data.tiergate.helper.over%d with data.tiergate.definitions.config as %s", n, n, g.ref())
	default:
		g.helperf("base%d contains %s", n, g.ref())
		g.rulef("probe%d if {\n\tsome x in data.tiergate.helper.base%d with data.tiergate.definitions.config.b as %s\n\tx == %s\n}", n, n, g.ref(), g.ref())
	}
}

func (g *generator) withFunction(n int) {
	switch g.pick("1", "2", "3") {
	case "1":
		g.helperf("real%d(x) := x%s", n, g.member())
		g.helperf("mock%d(x) := [x, %s]", n, g.ref())
		g.rulef("probe%d := v if v := data.tiergate.helper.real%d(%s) with data.tiergate.helper.real%d as data.tiergate.helper.mock%d", n, n, g.ref(), n, n)
	case "2":
		g.helperf("mock%d(x) := {\"mocked\": x, \"and\": %s}", n, g.ref())
		g.rulef("h%d := json.marshal(%s)", n, g.ref())
		g.rulef("probe%d := v if v := h%d with json.marshal as data.tiergate.helper.mock%d", n, n, n)
	default:
		g.helperf("real%d(x) := x%s", n, g.member())
		g.rulef("h%d := data.tiergate.helper.real%d(%s)", n, n, g.ref())
		g.rulef("probe%d := v if v := h%d with data.tiergate.helper.real%d as %s", n, n, n, g.ref())
	}
}

func (g *generator) comprehension(n int) {
	switch g.pick("1", "2", "3", "4") {
	case "1":
		g.rulef("probe%d := [x | some x in %s]", n, g.ref())
	case "2":
		g.rulef("probe%d := {x | x := %s[_]; x != %s}", n, g.ref(), g.value())
	case "3":
		g.rulef("probe%d := {k: v | some k, v in %s; not v == %s}", n, g.ref(), g.ref())
	default:
		g.rulef("probe%d := [y | u := %s; some x in [%s, %s]; not u == x; y := x%s]", n, g.ref(), g.ref(), g.value(), g.member())
	}
}

func (g *generator) every(n int) {
	switch g.pick("1", "2", "3") {
	case "1":
		g.rulef("probe%d if every x in %s { x != %s }", n, g.ref(), g.value())
	case "2":
		g.rulef("probe%d if every k, v in %s { [k, v] != [\"b\", %s] }", n, g.ref(), g.ref())
	default:
		g.rulef("probe%d if {\n\tu := %s\n\tevery x in [%s, %s] { x != u%s }\n}", n, g.ref(), g.ref(), g.value(), g.member())
	}
}

func (g *generator) elseChain(n int) {
	if g.pick("1", "2") == "1" {
		g.rulef("probe%d := 1 if {\n\t%s == %s\n} else := %s if {\n\tnot %s\n} else := [%s]", n, g.ref(), g.value(), g.ref(), g.ref(), g.ref())
		return
	}
	g.rulef("f%d(x) := 1 if {\n\tx == %s\n} else := x%s if {\n\t%s\n} else := %s", n, g.ref(), g.member(), g.ref(), g.ref())
	g.rulef("probe%d := f%d(%s)", n, n, g.ref())
}

func (g *generator) dynamicInput(n int) {
	switch g.pick("1", "2", "3", "4") {
	case "1":
		g.rulef("probe%d := input.attributes[%s]", n, g.ref())
	case "2":
		g.rulef("probe%d if {\n\tsome k\n\tinput.attributes[k] == %s\n\tk != \"c\"\n}", n, g.value())
	case "3":
		g.rulef("probe%d := [k | some k; input.attributes.a[k]]", n)
	default:
		g.rulef("probe%d := input.subject[k].tier if some k in [\"user\", \"team\", %s]", n, g.ref())
	}
}

func (g *generator) dynamicData(n int) {
	switch g.pick("1", "2", "3") {
	case "1":
		g.helperf("table%d := {\"a\": %s, \"1\": 1}", n, g.ref())
		g.rulef("probe%d := data.tiergate.helper.table%d[%s]", n, n, g.ref())
	case "2":
		g.helperf("one%d := %s", n, g.ref())
		g.helperf("two%d := %s", n, g.ref())
		g.rulef("probe%d := [v | some k in [\"one%d\", \"two%d\", %s]; v := data.tiergate.helper[k]]", n, n, n, g.ref())
	default:
		g.rulef("probe%d := data.tiergate.definitions.tiers[%s].rank", n, g.ref())
	}
}

func (g *generator) partialRule(n int) {
	switch g.pick("1", "2", "3") {
	case "1":
		g.rulef("part%d contains %s", n, g.ref())
		g.rulef("part%d contains x if some x in %s", n, g.ref())
		g.rulef("probe%d := part%d", n, n)
	case "2":
		g.rulef("part%d[k] := v if some k, v in %s", n, g.ref())
		g.rulef("part%d[\"z\"] := %s", n, g.ref())
		g.rulef("probe%d := part%d[%s]", n, n, g.pick(`"b"`, `"z"`, g.ref()))
	default:
		g.rulef("part%d contains %s if not %s", n, g.ref(), g.ref())
		g.rulef("probe%d if part%d[%s]", n, n, g.ref())
	}
}

func (g *generator) generalHead(n int) {
	switch g.pick("1", "2", "3") {
	case "1":
		g.rulef("gen%d[x].p[y] := v if {\n\tx := %s\n\tsome y, v in %s\n}", n, g.ref(), g.ref())
		g.rulef("probe%d := gen%d", n, n)
	case "2":
		g.rulef("gen%d.a.b := %s", n, g.ref())
		g.rulef("gen%d.a.c := %s if not %s", n, g.ref(), g.ref())
		g.rulef("probe%d := gen%d.a%s", n, n, g.pick(".b", ".c", "", "["+g.ref()+"]"))
	default:
		g.rulef("gen%d[%s].q contains %s", n, g.ref(), g.ref())
		g.rulef("gen%d[x].q contains %s if x := %s", n, g.ref(), g.ref())
		g.rulef("probe%d := gen%d[%s]", n, n, g.ref())
	}
}

const probes = 7 // of each package

// packageText draws what a package looks at, each at a probe; the probes are numbered from
// first. What they have seen is in a rule of that name.
func (g *generator) packageText(name string, first int) string {
	g.rules.Reset()
	g.bare = rapid.IntRange(0, 9).Draw(g.rt, "may read all") == 9
	order := rapid.Permutation(constructs).Draw(g.rt, "constructs")
	order = slices.DeleteFunc(order, func(c construct) bool { return c.name == wholeInput })[:probes]
	for i := range order {
		if g.bare {
			order[i] = construct{wholeInput, (*generator).functionOfAll}
		}
		g.counts[order[i].name]++
		order[i].write(g, first+i)
		g.rulef("seen[%q] := probe%d", fmt.Sprint(i), first+i)
	}
	return "package tiergate." + name + "\n\n" + g.rules.String()
}

// policyText draws a policy whose decision and limits show what each of its probes has
// seen.
func (g *generator) policyText() map[string]string {
	modules := map[string]string{
		"access.rego": g.packageText("access", 0) +
			"decision := object.union({\"allow\": allow, \"reason\": substring(json.marshal(seen), 0, 480)}, variant)\n\n" +
			"default variant := {}\n\nvariant := {\"variant\": v} if {\n\tv := " + g.ref() + "\n\tis_string(v)\n}\n\n" +
			"default allow := false\n\nallow if " + g.pick("probe0", "not probe0", "count(seen) > 3", "seen[\"1\"] == "+g.ref()) + "\n",
		// A key holds letters and digits only.
		"limits.rego": g.packageText("limits", probes) +
			"limits := [limit |\n\tsome at in [0, 120, 240]\n\ttext := substring(json.marshal(seen), at, 120)\n" +
			"\tlimit := {\"key\": concat(\"\", [\"k\", format_int(at, 10), \"-\", trim_right(base64url.encode(text), \"=\")]), \"kind\": \"gauge\", \"scope\": \"team\", \"amount\": count(seen)}\n]\n",
	}
	if g.helper.Len() > 0 {
		modules["helper.rego"] = "package tiergate.helper\n\n" + g.helper.String()
	}
	if rapid.IntRange(0, 3).Draw(g.rt, "own tier") == 0 {
		modules["subject.rego"] = fmt.Sprintf("package tiergate.subject\n\ndefault tier := \"free\"\n\ntier := \"pro\" if {\n\tu := %s\n\tnot u%s == %s\n}\n", g.ref(), g.member(), g.value())
	}
	return modules
}
