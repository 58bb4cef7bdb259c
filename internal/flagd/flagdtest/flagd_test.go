package flagdtest_test

import (
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator/targeting"
	"github.com/tiergate/tiergate/internal/flagd"
	"github.com/tiergate/tiergate/internal/flagd/flagdtest"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// Flags read from a file and decided by their rules alone answer as flagd-core does.
func TestTargeting_answers_as_flagd_core(t *testing.T) { flagdtest.Run(t, load) }

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
