package flagdtest

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Difference is one that we intend between flagd-core 4.0.1 and us, with an example that
// Run asks both.
type Difference struct {
	Name string
	Why  string
	// Rule and Context are the example; flagd-core answers Theirs, we answer Ours. Values
	// are not compared.
	Rule, Context string
	Theirs, Ours  Answer
	// covers says whether a made-up flag that is answered differently shows it; nil when
	// none is made up that does.
	covers func(rule any, context json.RawMessage, ours Answer) bool
}

func match(variant string) Answer { return Answer{Variant: variant, Reason: "TARGETING_MATCH"} }

var (
	byDefault = Answer{Variant: "off", Reason: "DEFAULT"}
	general   = Answer{Reason: "ERROR", ErrorCode: "GENERAL"}
	parse     = Answer{Reason: "ERROR", ErrorCode: "PARSE_ERROR"}
)

// Differences are all intended differences of rules. Besides, a flag that is malformed (no
// state, a defaultVariant that is not a variant) makes flagd-core refuse the whole file;
// here it is left out and all others are served.
var Differences = []Difference{
	{
		Name:    "log",
		Why:     "JsonLogic has it and flagd's schema does not; it yields its argument, and nothing is logged per decision",
		Rule:    `{"log":{"var":"plan"}}`,
		Context: `{"plan":"a"}`, Theirs: parse, Ours: match("a"),
	},
	{
		Name:    "operators of the engine",
		Why:     "json-logic-engine has operators (??, val, exists, length, keys, get, pipe, try and more) that neither JsonLogic nor another flagd knows: a rule with one would mean something in Node only",
		Rule:    `{"??":[{"var":"plan"},"b"]}`,
		Context: `{"plan":"a"}`, Theirs: match("a"), Ours: parse,
	},
	{
		Name:    "names of JavaScript's prototypes",
		Why:     "a context has the members that the caller sent; what JavaScript's objects and strings inherit (constructor, toString, big) is not there, so that the default applies",
		Rule:    `{"var":["constructor","a"]}`,
		Context: `{}`, Theirs: byDefault, Ours: match("a"),
	},
	{
		Name:    "lost parentheses",
		Why:     "the JavaScript that flagd-core makes of and, or, all, missing, missing_some and / of a computed list lacks parentheses around it, so that within cat (and as the list of in, map and their kin, or the default of var) it swallows its neighbours; here cat joins all its operands",
		Rule:    `{"cat":["x",{"or":[{"var":"plan"},"b"]}]}`,
		Context: `{"plan":"a"}`, Theirs: match("a"), Ours: match("xa"),
		covers: func(rule any, _ json.RawMessage, _ Answer) bool { return losesParentheses(rule) },
	},
	{
		Name:    "paths upwards",
		Why:     "../ leads out of a visited element in json-logic-engine only; in JsonLogic, and here, it is an ordinary name",
		Rule:    `{"some":[{"var":"roles"},{"==":[{"var":"../../plan"},"pro"]}]}`,
		Context: `{"plan":"pro","roles":["dev"]}`, Theirs: match("true"), Ours: match("false"),
	},
	{
		Name:    "flagd's operators on visited elements",
		Why:     "flagd-core finds its logger in the context and fails where the context is an element; starts_with, ends_with, sem_ver and fractional work there as in other flagds",
		Rule:    `{"some":[{"var":"roles"},{"starts_with":[{"var":""},"de"]}]}`,
		Context: `{"roles":["dev"]}`, Theirs: general, Ours: match("true"),
	},
	{
		Name:    "buckets of keys beyond ASCII",
		Why:     "fractional v2 is defined on UTF-8; npm imurmurhash mixes UTF-16 units, and so disagrees with flagd in every other language",
		Rule:    `{"fractional":[{"var":"key"},["a",1],["b",1],["on",1],["off",1]]}`,
		Context: `{"key":"日本"}`, Theirs: match("b"), Ours: match("off"),
		covers: func(rule any, context json.RawMessage, _ Answer) bool {
			text := asJSON(rule)
			return strings.Contains(text, `"fractional"`) && !isASCII(text+string(context))
		},
	},
	{
		Name:    "halves of surrogate pairs",
		Why:     "strings are UTF-8 here and cannot hold half of a character beyond U+FFFF: substr and an index yield U+FFFD for it",
		Rule:    `{"==":[{"cat":[{"substr":[{"var":"s"},0,1]},{"substr":[{"var":"s"},1]}]},"😀"]}`,
		Context: `{"s":"😀"}`, Theirs: match("true"), Ours: match("false"),
		covers: func(rule any, context json.RawMessage, ours Answer) bool {
			return strings.Contains(asJSON(rule)+string(context), "😀") && (ours.Variant == "" || strings.Contains(ours.Variant, "\ufffd"))
		},
	},
	{
		Name:    "shared rules in shared rules",
		Why:     "flagd-core puts shared rules in place one after the other, and so finds one within another only when that comes later in the file; here the order does not matter",
		Rule:    `{"$ref":"outer"}`,
		Context: `{"plan":"a"}`, Theirs: parse, Ours: match("a"),
	},
	{
		Name:    "dollars in shared rules",
		Why:     "flagd-core puts shared rules in place with String.replaceAll, which takes $$ and $& for patterns; here they are text",
		Rule:    `{"$ref":"dollars"}`,
		Context: `{}`, Theirs: match("$"), Ours: match("$$"),
	},
	{
		Name:    "infinite literals",
		Why:     "flagd-core writes a file with shared rules anew, and JSON has no Infinity, so that 1e999 becomes null; here it stays Infinity, as it does there in a file without",
		Rule:    `{"==":[{"+":[1e999,{"var":"n"}]},{"var":"n"}]}`,
		Context: `{"n":1}`, Theirs: match("true"), Ours: match("false"),
	},
	{
		Name:    "the tier and the team",
		Why:     "tier and team are the resolved ones; what the caller says of them is never read",
		Rule:    `{"var":"tier"}`,
		Context: `{"tier":"a"}`, Theirs: match("a"), Ours: byDefault,
	},
	{
		Name:    "unknown operators that are not reached",
		Why:     "flagd-core looks into the branch of an if of two only when it takes it; here a rule with an unknown operator is refused when it is read, so that somebody notices",
		Rule:    `{"if":[{"var":"none"},{"bogus":1}]}`,
		Context: `{}`, Theirs: byDefault, Ours: parse,
	},
	{
		Name:    "deep rules",
		Why:     "a rule is nested at most 64 operators deep, so that no definition exhausts a sidecar",
		Rule:    strings.Repeat(`{"!":[`, 66) + `{"var":"plan"}` + strings.Repeat(`]}`, 66),
		Context: `{"plan":"a"}`, Theirs: match("true"), Ours: parse,
	},
	{
		Name:    "long evaluations",
		Why:     "an evaluation takes at most 100,000 steps, so that no context exhausts a sidecar",
		Rule:    `{"some":[{"map":[{"var":"rows"},{"map":[{"var":""},{"+":[{"var":""},1]}]}]},{"in":[0,{"var":""}]}]}`,
		Context: `{"rows":[` + strings.TrimSuffix(strings.Repeat(`[`+strings.TrimSuffix(strings.Repeat("1,", 220), ",")+`],`, 220), ",") + `]}`,
		Theirs:  match("false"), Ours: general,
	},
}

// intended returns the difference that a made-up rule may show.
func intended(rule any, context json.RawMessage, ours Answer) *Difference {
	for i := range Differences {
		if d := &Differences[i]; d.covers != nil && d.covers(rule, context, ours) {
			return d
		}
	}
	return nil
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

var withoutParentheses = []string{"and", "or", "all", "missing", "missing_some"}

// losesParentheses looks for an operator whose JavaScript lacks parentheses, where it matters.
func losesParentheses(rule any) bool {
	switch rule := rule.(type) {
	case array:
		return slices.ContainsFunc(rule, losesParentheses)
	case object:
		for op, args := range rule {
			list, _ := args.(array)
			from, to := 0, 0
			switch op {
			case "cat":
				to = len(list)
			case "in", "var":
				from, to = min(1, len(list)), min(2, len(list))
			case "map", "filter", "all", "some", "none", "reduce", "missing_some":
				to = min(1, len(list))
			}
			return slices.ContainsFunc(list[from:to], isBare) || losesParentheses(args)
		}
	}
	return false
}

func isBare(rule any) bool {
	operation, _ := rule.(object)
	for op, args := range operation {
		_, computed := args.(object)
		return slices.Contains(withoutParentheses, op) || op == "/" && computed
	}
	return false
}

// context returns the example's context as JSON.
func (d *Difference) context() json.RawMessage { return json.RawMessage(d.Context) }
