package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/policy"
)

// Whatever is wrong with an answer, the caller is told one sentence that never changes, and
// operators which rule it was, what it said, and how often.
func TestEngine_failures(t *testing.T) {
	module := func(name, body string) map[string]string {
		return map[string]string{name + ".rego": "package tiergate." + name + "\n\n" + body}
	}
	access := func(in *policy.Input, e *policy.Engine) error { _, err := e.Access(in); return err }
	limits := func(in *policy.Input, e *policy.Engine) error { _, err := e.Limits(in, "free"); return err }
	manage := func(in *policy.Input, e *policy.Engine) error {
		_, err := e.AllowAdmin(t.Context(), policy.AdminInput{})
		return err
	}
	for story, c := range map[string]struct {
		modules map[string]string
		ask     func(*policy.Input, *policy.Engine) error
		point   string
		want    string // of the whole problem
	}{
		"a conflict": {
			module("access", "decision := {\"allow\": true, \"reason\": \"secret\"}\ndecision := {\"allow\": false, \"reason\": \"\"}"), access,
			"data.tiergate.access.decision", "access.rego:4:1: data.tiergate.access.decision: rule data.tiergate.access.decision produced conflicting values",
		},
		"no answer": {
			module("access", "decision := {\"allow\": true, \"reason\": \"\"} if input.attributes.never"), access,
			"data.tiergate.access.decision", "access.rego:3:1: data.tiergate.access.decision: the answer is undefined",
		},
		"a wrong shape": {
			module("access", "default decision := true\n\ndecision := [input.attributes.word]"), access,
			"data.tiergate.access.decision", `access.rego:5:1: data.tiergate.access.decision: the decision is no object: ["secret"]`,
		},
		"a tier that is not defined": {
			module("subject", "tier := concat(\"\", [\"gold-\", input.attributes.word])"), access,
			"data.tiergate.subject.tier", `subject.rego:3:1: data.tiergate.subject.tier: the tier is not defined: "gold-secret"`,
		},
		"a limit of no kind": {
			module("limits", "limits := [{\"key\": \"a\", \"amount\": 1}]"), limits,
			"data.tiergate.limits.limits", "limits.rego:3:1: data.tiergate.limits.limits: a limit is not valid: ",
		},
		"two limits of one key": {
			module("limits", "limit := {\"key\": \"a\", \"kind\": \"gauge\", \"scope\": \"team\", \"amount\": 1}\n\nlimits := [limit, object.union(limit, {\"amount\": null})]"), limits,
			"data.tiergate.limits.limits", "limits.rego:5:1: data.tiergate.limits.limits: two limits have one key: ",
		},
		"an admin answer that is no boolean": {
			module("admin", "allow := \"secret\""), manage,
			"data.tiergate.admin.allow", `admin.rego:3:1: data.tiergate.admin.allow: the answer is no boolean: "secret"`,
		},
	} {
		t.Run(strings.ReplaceAll(story, " ", "_"), func(t *testing.T) {
			e, err := policy.Settings{Deadline: time.Second}.Compile(c.modules, demoDefinitions())
			if err != nil {
				t.Fatal(err)
			}
			in := &policy.Input{Feature: everyone, Attributes: attributesOf(t, `{"word": "secret"}`)}
			for range 2 {
				err = c.ask(in, e)
				if got := policy.PublicMessage(err); got != "the policy gave no usable answer" || tiergate.CodeOf(err) != tiergate.Internal {
					t.Errorf("callers are told %q (%s)", got, tiergate.CodeOf(err))
				}
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("operators are told %v, want %q", err, c.want)
				}
			}
			s := e.Stats()
			if len(s.LastFailures) != 1 || s.LastFailures[0].Count != 2 || s.LastFailures[0].EntryPoint != c.point ||
				!strings.HasPrefix(s.LastFailures[0].String(), c.want) || s.Failures[c.point] != 2 || len(s.Failures) != 1 {
				t.Errorf("Stats has %v and %+v", s.Failures, s.LastFailures)
			}
		})
	}
}

// What is remembered of failures is bounded, whatever callers say in them, and the newest
// come first; other definitions do not make it forgotten.
func TestEngine_failures_are_bounded(t *testing.T) {
	body := ""
	for i := range 12 {
		body += fmt.Sprintf("decision := %d if input.attributes.n == %d\ndecision := false if input.attributes.n == %d\n", i, i, i)
	}
	e := compileAccess(t, policy.Settings{}, body+"decision := [input.attributes.n] if input.attributes.n > 100")
	ask := func(n int) {
		in := &policy.Input{Feature: everyone, Attributes: attributesOf(t, fmt.Sprintf(`{"n": %d, "pad": 1}`, n))}
		if _, err := e.Access(in); err == nil {
			t.Fatalf("%d is answered", n)
		}
	}
	for i := range 12 {
		ask(i)
	}
	for i := range 50 {
		ask(1000 + i) // one kind of failure, ever another text
	}
	e, err := e.WithDefinitions(policy.Definitions{Tiers: demoDefinitions().Tiers[:1]})
	if err != nil {
		t.Fatal(err)
	}
	s := e.Stats()
	if len(s.LastFailures) != 8 || s.LastFailures[0].Count != 50 || s.Failures["data.tiergate.access.decision"] != 62 {
		t.Errorf("Stats has %v and %d failures, the first %+v", s.Failures, len(s.LastFailures), s.LastFailures[0])
	}
	for _, f := range s.LastFailures {
		if f.Row == 0 || f.Col == 0 || len(f.Message) > 400 {
			t.Errorf("a failure is told as %+v", f)
		}
	}
}

// Callers are told the message of what is made for them, and of nothing else.
func TestPublicMessage(t *testing.T) {
	if got := policy.PublicMessage(nil); got != "" {
		t.Errorf("no error is told as %q", got)
	}
	if got := policy.PublicMessage(fmt.Errorf("data.secret: %w", tiergate.Errorf(tiergate.Invalid, "rule secret"))); got != "the policy gave no usable answer" {
		t.Errorf("an error is told as %q", got)
	}
}
