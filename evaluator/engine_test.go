package evaluator_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/policy"
)

// bundle puts a published policy of one module.
func bundle(version int64, rego string, edit func(*tiergate.PolicyBundle)) tiergate.Change {
	b := &tiergate.PolicyBundle{ID: fmt.Sprint("p", version), Version: version, Modules: map[string]string{}, Admission: policy.AdmissionID()}
	if rego != "" {
		b.Modules["access.rego"] = rego
	}
	b.Hash = tiergate.ModulesHash(b.Modules)
	if edit != nil {
		edit(b)
	}
	return tiergate.PutOf(b)
}

const denyAll = `package tiergate.access

decision := {"allow": false, "reason": "closed"}
`

// Before the first state there is nothing in force.
func TestEngine_begins_with_nothing(t *testing.T) {
	e := newEngine(evaluator.Options{})
	if e.Generation() != nil || e.Current() != nil || e.Quarantined() != nil {
		t.Error("there is a generation")
	}
	if _, ok := e.State(); ok {
		t.Error("there is a state")
	}
	if err := e.Apply(t.Context(), step(5)); tiergate.CodeOf(err) != tiergate.Conflict {
		t.Errorf("a step without a state before it: %v", err)
	}
}

// The state in force, given to another engine, decides the same.
func TestEngine_State_can_be_applied(t *testing.T) {
	e, other := demo(t), newEngine(evaluator.Options{})
	state, ok := e.State()
	if !ok {
		t.Fatal("no state")
	}
	apply(t, other, state)
	if e.Current().View().Digest() != other.Current().View().Digest() {
		t.Error("the states differ")
	}
}

// A policy that may not be used is refused with a reason; the last good generation serves
// and knows nothing of the refused revision; the next policy brings all of it into force.
func TestEngine_Apply_refuses_policies(t *testing.T) {
	for story, tc := range map[string]struct {
		put  tiergate.Change
		want string
	}{
		"one that does not parse":             {bundle(2, "package tiergate.access\n\ndecision := {", nil), "access.rego:3"},
		"one that was changed since":          {bundle(2, denyAll, func(b *tiergate.PolicyBundle) { b.Hash = "00" }), "not those that were admitted"},
		"one that was never admitted":         {bundle(2, denyAll, func(b *tiergate.PolicyBundle) { b.Admission = "" }), "not admitted"},
		"one admitted under other conditions": {bundle(2, denyAll, func(b *tiergate.PolicyBundle) { b.Admission = "opa-0.1" }), "not admitted"},
	} {
		t.Run(story, func(t *testing.T) {
			e := demo(t)
			before := e.Current()
			err := e.Apply(t.Context(), step(2, tc.put, boolean("late", nil)))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("Apply: %v, want it to say %q", err, tc.want)
			}
			if e.Current() != before || ask(t, e, "late", `{}`).ErrorCode != tiergate.FlagNotFound {
				t.Error("something of the refused revision is in force")
			}
			if err := e.Apply(t.Context(), step(3, boolean("later", nil))); err == nil {
				t.Error("a revision on top of the refused policy came into force")
			}
			apply(t, e, step(4, bundle(3, denyAll, nil)))
			if d := ask(t, e, "late", `{}`); !d.Denied || d.DenyReason != "closed" || d.Reason == tiergate.ReasonStatic {
				t.Errorf("under the next policy: %+v", d)
			}
			if d := ask(t, e, "later", `{}`); d.ErrorCode != "" {
				t.Errorf("the flag of the revision in between: %+v", d)
			}
		})
	}
}

// The hook may let in what the program itself did not admit.
func TestOptions_Admitted(t *testing.T) {
	e := newEngine(evaluator.Options{Admitted: func(b *tiergate.PolicyBundle) bool { return b.Admission == "local" }})
	apply(t, e, whole(1, append(conformance.Demo(), bundle(1, denyAll, func(b *tiergate.PolicyBundle) { b.Admission = "local" }))...))
	if d := ask(t, e, "new-dashboard", `{}`); !d.Denied {
		t.Errorf("the policy is not in force: %+v", d)
	}
}

// A policy's variant takes the place of targeting; one that does not exist is an error.
func TestGeneration_Decide_policy_variant(t *testing.T) {
	for variant, want := range map[string]tiergate.Decision{
		"off":  {Variant: "off", Value: raw("false"), Reason: tiergate.ReasonTargetingMatch},
		"nope": {Reason: tiergate.ReasonError, ErrorCode: tiergate.General},
	} {
		e := demo(t, bundle(1, `package tiergate.access

decision := {"allow": true, "reason": "chosen", "variant": "`+variant+`"}
`, nil))
		d := ask(t, e, "new-dashboard", `{"targetingKey":"alice"}`)
		if d.Variant != want.Variant || string(d.Value) != string(want.Value) || d.Reason != want.Reason || d.ErrorCode != want.ErrorCode {
			t.Errorf("variant %q: %+v", variant, d)
		}
	}
}

// A policy without an answer is an error of the decision and not of the program.
func TestGeneration_Decide_policy_error(t *testing.T) {
	e := demo(t, bundle(1, `package tiergate.access

decision := {"allow": true, "reason": "x"} if input.subject.user.id == "alice"
`, nil))
	if d := ask(t, e, "new-dashboard", `{"targetingKey":"bob"}`); d.ErrorCode != tiergate.General || !strings.Contains(d.ErrorDetails, "policy") {
		t.Errorf("the decision is %+v", d)
	}
	if d := ask(t, e, "new-dashboard", `{"targetingKey":"alice"}`); d.Variant != "on" {
		t.Errorf("alice's decision is %+v", d)
	}
}

// A broken flag is named, answers with an error, and mends by the next revision; a set's
// shared rules mend or break its flags only.
func TestEngine_quarantines_single_flags(t *testing.T) {
	inSet := func(name, set string) tiergate.Change {
		return boolean(name, func(f *tiergate.Flag) {
			f.Set, f.Rules.Targeting = set, raw(`{"$ref":"shared"}`)
		})
	}
	shared := func(set, rule string) tiergate.Change {
		return tiergate.PutOf(&tiergate.FlagSet{Name: set, Evaluators: map[string]json.RawMessage{"shared": raw(rule)}})
	}
	e := demo(t, shared("a", `"on"`), inSet("x", "a"), inSet("y", "b"), boolean("z", func(f *tiergate.Flag) { f.Type = "?" }))
	names := func() (all []string) {
		for _, q := range e.Quarantined() {
			all = append(all, q.Set+"/"+q.Flag)
			if q.Err == nil {
				t.Error("a quarantined flag without an error")
			}
		}
		return all
	}
	check := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, names()); diff != "" {
			t.Errorf("quarantined mismatch (-want +got):\n%s", diff)
		}
	}
	check("b/y", "default/z")
	apply(t, e, step(2, boolean("z", nil), shared("b", `"off"`)))
	check()
	apply(t, e, step(3, tiergate.Change{Kind: tiergate.KindFlagSet, Key: "a"}))
	check("a/x")
	apply(t, e, step(4, tiergate.Change{Kind: tiergate.KindFlag, Key: "x"}))
	check()
	if e.Current().HasSet("a") || !e.Current().HasSet("b") {
		t.Error("the empty set is there, or the other is gone")
	}
}

// Any sequence of steps decides as the same state does when it is compiled at once.
func TestEngine_steps_equal_a_whole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := newEngine(evaluator.Options{})
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		must(e.Apply(t.Context(), whole(1, conformance.Demo()...)))
		for rev := range int64(rapid.IntRange(1, 8).Draw(t, "steps")) {
			changes := make([]tiergate.Change, rapid.IntRange(1, 6).Draw(t, "changes"))
			for i := range changes {
				changes[i] = genChange(t)
			}
			must(e.Apply(t.Context(), step(rev+2, changes...)))
		}
		state, _ := e.State()
		fresh := newEngine(evaluator.Options{})
		must(fresh.Apply(t.Context(), state))
		for _, set := range []string{"", "other"} {
			for _, user := range []string{"alice", "bob", "carol", ""} {
				req := tiergate.Request{Set: set, UserID: user, Now: now}
				var got, want []tiergate.Decision
				for d := range e.Generation().All(&req) {
					got = append(got, d)
				}
				for d := range fresh.Generation().All(&req) {
					want = append(want, d)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("set %q for %q mismatch (-whole +steps):\n%s", set, user, diff)
				}
			}
			if e.Generation().Steps(set) != fresh.Generation().Steps(set) || e.Generation().HasSet(set) != fresh.Generation().HasSet(set) {
				t.Fatalf("set %q: clock or presence differ", set)
			}
		}
		if diff := cmp.Diff(fresh.Quarantined(), e.Quarantined(), cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) || a.Error() == b.Error() })); diff != "" {
			t.Fatalf("quarantine mismatch (-whole +steps):\n%s", diff)
		}
	})
}

func genChange(t *rapid.T) tiergate.Change {
	n := rapid.IntRange(0, 3).Draw(t, "n")
	drop := rapid.IntRange(0, 3).Draw(t, "drop") == 0
	var c tiergate.Change
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		c = tiergate.PutOf(&tiergate.FlagSet{
			Name:       rapid.SampledFrom([]string{"other", "default"}).Draw(t, "set"),
			Evaluators: map[string]json.RawMessage{"shared": raw(rapid.SampledFrom([]string{`"on"`, `{"var":"x"}`, `{"bad":1}`}).Draw(t, "shared"))},
			Metadata:   map[string]any{"n": n},
		})
	case 1:
		c = tiergate.PutOf(&tiergate.Limit{ID: fmt.Sprint("l", n), Key: fmt.Sprint("l", n), Feature: fmt.Sprint("f", n%2), Kind: tiergate.Concurrency, Scope: "team"})
	case 2:
		c = tiergate.PutOf(&tiergate.Tier{Key: fmt.Sprint("t", n), Name: "T", Rank: 100 + n})
	default:
		c = boolean(fmt.Sprint("f", n), func(f *tiergate.Flag) {
			f.Name = fmt.Sprint("f", rapid.IntRange(0, 3).Draw(t, "name"))
			f.Set = rapid.SampledFrom([]string{"other", "default"}).Draw(t, "set")
			f.Rules.Percentage = rapid.SampledFrom([]float64{0, 50, 100}).Draw(t, "percentage")
			f.OffVariant = rapid.SampledFrom([]string{"off", "", "nope"}).Draw(t, "off")
			if rule := rapid.SampledFrom([]string{"", `{"$ref":"shared"}`, `{"var":"$flagd.timestamp"}`, `{"fractional":[["on",1],["off",1]]}`}).Draw(t, "rule"); rule != "" {
				f.Rules.Targeting = raw(rule)
			}
		})
	}
	if drop {
		c.Put = nil
	}
	return c
}
