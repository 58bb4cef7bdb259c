package flagdtest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator/targeting"
	"github.com/tiergate/tiergate/internal/flagd"
	"github.com/tiergate/tiergate/internal/flagd/flagdtest"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// Flags read from a file and decided by their rules alone answer as flagd-core does.
func TestTargeting_answers_as_flagd_core(t *testing.T) { flagdtest.Run(t, load) }

// So do flag files as people write them, in contexts as applications send them.
func TestFiles_answer_as_flagd_core(t *testing.T) {
	contexts := []string{
		`{}`,
		`{"targetingKey": "ann", "email": "ann@shop.example", "country": "NL", "locale": "nl-NL", "app": {"version": "1.9.3"}}`,
		`{"targetingKey": "bob", "email": "bob@mail.example", "country": "US", "locale": "nl", "app": {"version": "3.0.0"}, "orders": [{"total": 15}, {"total": 90.5}], "basket": {"total": 60}}`,
		`{"targetingKey": "eve", "email": "eve@mail.example", "country": "BE", "locale": "de", "app": {"version": "2.4.0-dev"}, "orders": [], "basket": {"total": "20"}}`,
		`{"targetingKey": "tess", "email": null, "country": 31, "locale": ["nl"], "app": {"version": 2}, "orders": {"total": 1}, "basket": []}`,
		`{"email": "cat@mail.example", "app": "1.0.0", "orders": [{"total": "21"}, {"total": 80}, {}], "basket": {"total": 10}}`,
	}
	for file, flags := range map[string]int{"../testdata/files/shop.flagd.json": 17, "../testdata/files/drills.flagd.yaml": 4} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			json, err := yaml.YAMLToJSON(text) // which flagd-core reads
			if err != nil {
				t.Fatal(err)
			}
			ours := func(t *testing.T, _ []byte) func(flagdtest.Question) flagdtest.Answer { return load(t, text) }
			if n := flagdtest.RunFile(t, ours, json, contexts); n != flags {
				t.Errorf("the file has %d flags, want %d", n, flags)
			}
		})
	}
}

// load decides by targeting and nothing else: what flagd itself does.
func load(t *testing.T, file []byte) func(flagdtest.Question) flagdtest.Answer {
	f, err := flagd.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.Problems {
		t.Error(p)
	}
	flags := map[string]*tiergate.Flag{}
	rules := map[string]*targeting.Rule{}
	for i := range f.Flags {
		flag := &f.Flags[i]
		flags[flag.Name] = flag
		if flag.Rules.Targeting == nil {
			continue
		}
		if r, err := targeting.Compile(flag.Rules.Targeting, targeting.Options{Evaluators: f.Sets[0].Evaluators}); err == nil {
			rules[flag.Name] = r
		}
	}
	return func(q flagdtest.Question) flagdtest.Answer { return decide(t, flags[q.Flag], rules[q.Flag], q) }
}

func decide(t *testing.T, flag *tiergate.Flag, rule *targeting.Rule, q flagdtest.Question) flagdtest.Answer {
	variant, reason := flag.DefaultVariant, "STATIC"
	switch {
	case !flag.Enabled:
		return flagdtest.Answer{Reason: "DISABLED"}
	case flag.Rules.Targeting != nil && rule == nil:
		return flagdtest.Answer{Reason: "ERROR", ErrorCode: "PARSE_ERROR"}
	case rule != nil:
		context, err := jsonvalue.Parse(q.Context)
		if err != nil {
			t.Fatal(err)
		}
		user := context.Field("targetingKey").Text()
		v, err := rule.Eval(&targeting.Scope{Attributes: context, FlagKey: flag.Name, UserID: user, Unix: q.Now})
		if err != nil {
			return flagdtest.Answer{Reason: "ERROR", ErrorCode: "GENERAL"}
		}
		reason = "DEFAULT"
		if name, ok := targeting.VariantName(v); ok {
			variant, reason = name, "TARGETING_MATCH"
		}
	}
	if variant == "" && reason != "TARGETING_MATCH" {
		return flagdtest.Answer{Reason: "DEFAULT"}
	}
	value, ok := flag.Variants[variant]
	if !ok {
		return flagdtest.Answer{Reason: "ERROR", ErrorCode: "GENERAL", Unknown: &variant}
	}
	return flagdtest.Answer{Variant: variant, Value: value, Reason: reason}
}
