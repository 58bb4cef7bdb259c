package flagdtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tiergate/tiergate"
)

// What Run makes up.
const (
	flagCount   = 3200
	contexts    = 2 // for each flag
	seed        = 20261124
	now         = 1700000050
	typesOfFlag = 4
)

// Load takes a flag file in and returns what answers about its flags. The flags are in
// the default set; nobody in their contexts has a tier or a team.
type Load func(t *testing.T, file []byte) func(Question) Answer

// Run makes up flags, asks flagd-core and the evaluator behind load, and fails for each
// difference that is not intended.
func Run(t *testing.T, load Load) { run(t, load, seed) }

func run(t *testing.T, load Load, seed uint64) {
	s := makeUp(seed)
	o := startOracle(t)
	want := s.askOracle(o)
	decide := load(t, s.file())
	counts, excused := census{}, map[string]int{}
	for i, q := range s.questions {
		flag := s.flags[i/contexts]
		counts.add(flag, q, want[i])
		got := decide(q)
		failed := want[i].ErrorCode == string(tiergate.General) && want[i].Unknown == nil
		if same(got, want[i]) && !(failed && got.Unknown != nil) {
			continue
		}
		if d := intended(flag.body["targeting"], q.Context, got); d != nil {
			excused[d.Name]++
			continue
		}
		t.Errorf("flag %s\n  rule %s\n  context %s\n  we say  %s\n  flagd   %s",
			q.Flag, asJSON(flag.body["targeting"]), q.Context, asJSON(got), asJSON(want[i]))
	}
	s.checkDifferences(t, o, decide)
	counts.check(t)
	t.Logf("%d flags, %d operators; intended differences: %v; pairs: %v", len(s.flags), len(operators), excused, counts)
}

// RunFile asks flagd-core and the evaluator behind load about each flag of a file in each
// context, and fails for each difference. It returns how many flags there are.
func RunFile(t *testing.T, load Load, file []byte, contexts []string) int {
	var flags struct{ Flags map[string]json.RawMessage }
	if err := json.Unmarshal(file, &flags); err != nil {
		t.Fatal(err)
	}
	o := startOracle(t)
	o.load(file)
	decide := load(t, file)
	var questions []Question
	for _, name := range slices.Sorted(maps.Keys(flags.Flags)) {
		for _, c := range contexts {
			questions = append(questions, Question{Flag: name, Context: json.RawMessage(c), Now: now})
		}
	}
	answers := o.ask(questions)
	for i, q := range questions {
		if got := decide(q); !same(got, answers[i]) {
			t.Errorf("flag %s\n  context %s\n  we say  %s\n  flagd   %s", q.Flag, q.Context, asJSON(got), asJSON(answers[i]))
		}
	}
	t.Logf("%d answers about %d flags; %s", len(answers), len(flags.Flags), outcomes(answers))
	return len(flags.Flags)
}

// outcomes says how the answers are spread: a test whose answers are all errors shows little.
func outcomes(answers []Answer) string {
	n := map[string]int{}
	for _, a := range answers {
		n[a.Reason+a.ErrorCode]++
	}
	return fmt.Sprint(n)
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

// checkDifferences holds the list of intended differences against both sides, so that it
// says what is so.
func (s *set) checkDifferences(t *testing.T, o *oracle, decide func(Question) Answer) {
	for i := range Differences {
		d := &Differences[i]
		q := Question{Flag: differenceFlag(i), Context: d.context(), Now: now}
		for side, pair := range map[string][2]Answer{"flagd-core": {o.ask([]Question{q})[0], d.Theirs}, "we": {decide(q), d.Ours}} {
			got, want := pair[0], pair[1]
			if got.Value, got.Unknown = nil, nil; !same(got, want) {
				t.Errorf("difference %q: %s say %s, the list says %s", d.Name, side, asJSON(got), asJSON(want))
			}
		}
	}
}

func differenceFlag(i int) string { return fmt.Sprintf("difference-%d", i) }

// addDifferences adds the examples to a file's flags.
func addDifferences(flags object) {
	for i, d := range Differences {
		variants := object{}
		for _, name := range []string{"on", "off", "a", "b", "xa", "$", "$$", "true", "false"} {
			variants[name] = name
		}
		flags[differenceFlag(i)] = object{
			"state": "ENABLED", "defaultVariant": "off", "variants": variants, "targeting": json.RawMessage(d.Rule),
		}
	}
}

func same(a, b Answer) bool {
	return a.Variant == b.Variant && a.Reason == b.Reason && a.ErrorCode == b.ErrorCode && sameJSON(a.Value, b.Value)
}

func sameJSON(a, b json.RawMessage) bool {
	if a == nil || b == nil {
		return (a == nil) == (b == nil)
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// A flag is one that was made up.
type flag struct {
	name string
	kind int
	body object
	used map[string]bool
}

// A set is everything that was made up.
type set struct {
	flags     []*flag
	questions []Question
}

func makeUp(seed uint64) *set {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, seed))}
	s := &set{}
	for i := range flagCount {
		f := g.flag(i)
		s.flags = append(s.flags, f)
		for range contexts {
			s.questions = append(s.questions, Question{Flag: f.name, Context: g.context(), Now: now})
		}
	}
	return s
}

// flag makes up a flag whose rule has one operator after the other at its root.
func (g *generator) flag(i int) *flag {
	g.used, g.inside = map[string]bool{}, 0
	f := &flag{name: fmt.Sprintf("flag-%d", i), kind: i % typesOfFlag, used: g.used}
	f.body = object{
		"state":          "ENABLED",
		"defaultVariant": pick[any](g, "on", "on", "off", nil),
		"variants":       object{},
	}
	for n, name := range []string{"on", "off", "a", "b", "true", "false"} {
		f.addVariant(name, n)
	}
	switch {
	case i%100 == 0:
		f.body["state"] = "DISABLED"
	case i%100 == 1:
		return f // no targeting
	}
	rule := g.rule(operators[i%len(operators)], 1+g.IntN(3))
	if g.IntN(3) == 0 {
		rule = object{"if": array{rule, pick[any](g, "on", "a", nil, g.any(1)), pick[any](g, "off", "b", nil)}}
		g.used["if"] = true
	}
	f.body["targeting"] = rule
	return f
}

func (f *flag) addVariant(name string, n int) {
	f.body["variants"].(object)[name] = []any{n%2 == 0, fmt.Sprintf("value %d", n), n, object{"n": n}}[f.kind]
}

// file puts all flags in one flag file.
func (s *set) file() []byte {
	flags := object{}
	for _, f := range s.flags {
		flags[f.name] = f.body
	}
	addDifferences(flags)
	text, err := json.Marshal(object{"flags": flags, "$evaluators": json.RawMessage(evaluators)})
	if err != nil {
		panic("tiergate: bug: a made-up flag is not JSON: " + err.Error())
	}
	return text
}

// askOracle asks twice: results that name no variant become variants in between, so that
// the answers show what the rules yield.
func (s *set) askOracle(o *oracle) []Answer {
	o.load(s.file())
	for i, a := range o.ask(s.questions) {
		f := s.flags[i/contexts]
		if a.Unknown != nil && *a.Unknown != "" && len(*a.Unknown) <= tiergate.MaxNameLength && utf8.ValidString(*a.Unknown) {
			f.addVariant(*a.Unknown, i)
		}
	}
	o.load(s.file())
	return o.ask(s.questions)
}
