package evaluator_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
)

func raw(text string) json.RawMessage { return json.RawMessage(text) }

// Each way through a decision has its value, reason and code.
func TestGeneration_Decide(t *testing.T) {
	targeting := func(rule string) func(*tiergate.Flag) {
		return func(f *tiergate.Flag) { f.Rules.Targeting = raw(rule) }
	}
	on := tiergate.Decision{Value: raw("true"), Variant: "on", Reason: tiergate.ReasonStatic, Tier: "free"}
	off := tiergate.Decision{Value: raw("false"), Variant: "off", Reason: tiergate.ReasonStatic, Tier: "free"}
	with := func(d tiergate.Decision, reason tiergate.Reason) tiergate.Decision {
		d.Reason = reason
		return d
	}
	failed := func(code tiergate.ErrorCode) tiergate.Decision {
		return tiergate.Decision{Reason: tiergate.ReasonError, ErrorCode: code}
	}
	codeDefault := tiergate.Decision{Reason: tiergate.ReasonDefault, Tier: "free"}
	for story, tc := range map[string]struct {
		edit    func(*tiergate.Flag)
		context string
		want    tiergate.Decision
	}{
		"a flag for everybody is static":                          {nil, `{}`, on},
		"a flag for nobody is static and off":                     {func(f *tiergate.Flag) { f.Rules.Percentage = 0 }, `{"targetingKey":"u"}`, off},
		"a flag that is switched off leaves the code default":     {func(f *tiergate.Flag) { f.Enabled = false }, `{}`, tiergate.Decision{Reason: tiergate.ReasonDisabled}},
		"a flag without default leaves the code default":          {func(f *tiergate.Flag) { f.DefaultVariant = "" }, `{}`, codeDefault},
		"off without an off variant leaves the code default":      {func(f *tiergate.Flag) { f.OffVariant = ""; f.Rules.Percentage = 0 }, `{}`, codeDefault},
		"half of everybody, and nobody is named":                  {func(f *tiergate.Flag) { f.Rules.Percentage = 50 }, `{}`, with(off, tiergate.ReasonTargetingMatch)},
		"a hundred percent needs nobody to be named":              {func(f *tiergate.Flag) { f.Rules.Tiers = []string{"free"} }, `{}`, with(on, tiergate.ReasonTargetingMatch)},
		"targeting names a variant":                               {targeting(`{"if":[{"==":[{"var":"x"},1]},"off","on"]}`), `{"x":1}`, with(off, tiergate.ReasonTargetingMatch)},
		"targeting says null":                                     {targeting(`{"if":[{"==":[{"var":"x"},1]},"off",null]}`), `{"x":2}`, with(on, tiergate.ReasonDefault)},
		"targeting names a variant that does not exist":           {targeting(`{"var":"x"}`), `{"x":"nope"}`, failed(tiergate.General)},
		"targeting cannot be computed":                            {targeting(`{"<":[{"var":"x"},1]}`), `{"x":"word"}`, failed(tiergate.General)},
		"targeting that is constant matches all the same":         {targeting(`"off"`), `{}`, with(off, tiergate.ReasonTargetingMatch)},
		"targeting that does not compile":                         {targeting(`{"no such operator":[]}`), `{}`, failed(tiergate.ParseError)},
		"a definition that is not valid":                          {func(f *tiergate.Flag) { f.DefaultVariant = "nope" }, `{}`, failed(tiergate.ParseError)},
		"a broken flag that is switched off is switched off":      {func(f *tiergate.Flag) { f.Enabled = false; f.OffVariant = "nope" }, `{}`, tiergate.Decision{Reason: tiergate.ReasonDisabled}},
		"targeting sees the resolved tier and not the caller's":   {targeting(`{"if":[{"==":[{"var":"tier"},"free"]},"on","off"]}`), `{"tier":"enterprise"}`, with(on, tiergate.ReasonTargetingMatch)},
		"targeting sees the resolved team and not the caller's":   {targeting(`{"if":[{"==":[{"var":"team"},"acme"]},"off","on"]}`), `{"team":"acme"}`, with(on, tiergate.ReasonTargetingMatch)},
		"naming a team that one is not in does not make it one's": {targeting(`{"if":[{"==":[{"var":"team"},"acme"]},"off","on"]}`), `{"targetingKey":"carol","teamId":"acme"}`, with(on, tiergate.ReasonTargetingMatch)},
		"a member's team is what targeting sees":                  {targeting(`{"if":[{"==":[{"var":"team"},"acme"]},"on","off"]}`), `{"targetingKey":"dave","teamId":"acme"}`, tiergate.Decision{Value: on.Value, Variant: "on", Reason: tiergate.ReasonTargetingMatch, Tier: "enterprise"}},
		"a boolean flag has on and off without being told":        {func(f *tiergate.Flag) { f.Variants = nil }, `{}`, on},
		"a boolean flag told nothing at all is on for who is in":  {func(f *tiergate.Flag) { f.Variants, f.DefaultVariant, f.OffVariant = nil, "", "" }, `{}`, on},
	} {
		t.Run(story, func(t *testing.T) {
			e := demo(t, boolean("x", tc.edit))
			got := ask(t, e, "x", tc.context)
			if got.Flag != "x" || got.Type != tiergate.Boolean || (got.ErrorDetails != "") != (got.ErrorCode != "") {
				t.Errorf("%s: the decision is about %q of type %s and says %q", story, got.Flag, got.Type, got.ErrorDetails)
			}
			ignored := cmpopts.IgnoreFields(tiergate.Decision{}, "Flag", "Type", "ErrorDetails")
			if diff := cmp.Diff(tc.want, got, ignored); diff != "" {
				t.Errorf("%s: mismatch (-want +got):\n%s", story, diff)
			}
		})
	}
}

// A feature with a limit is metered, and its flag is never static; without the limit it is.
func TestGeneration_Decide_metered_is_not_static(t *testing.T) {
	limit := &tiergate.Limit{ID: "l", Key: "l", Feature: "x", Kind: tiergate.Quota, Period: "day", Scope: "team"}
	e := demo(t, boolean("x", nil), tiergate.PutOf(limit))
	if got := ask(t, e, "x", `{}`).Reason; got != tiergate.ReasonTargetingMatch {
		t.Errorf("with a limit the reason is %s", got)
	}
	apply(t, e, step(2, tiergate.Change{Kind: tiergate.KindLimit, Key: "l"}))
	if got := ask(t, e, "x", `{}`).Reason; got != tiergate.ReasonStatic {
		t.Errorf("without the limit the reason is %s", got)
	}
}

// A credential's team beats the team in the request, and its members need no name.
func TestGeneration_Decide_the_key_says_the_team(t *testing.T) {
	e := demo(t)
	d := e.Generation().Decide(&tiergate.Request{
		Flag: "white-label", UserID: "carol", TeamID: "initech", Key: &tiergate.Key{ID: "k", TeamID: "acme"}, Now: now,
	})
	if d.Denied || d.Tier != "enterprise" || d.Variant != "on" {
		t.Errorf("the decision is %+v", d)
	}
}

// Somebody in two teams who names none has no team and the higher tier.
func TestGeneration_Decide_two_memberships(t *testing.T) {
	e := demo(t,
		tiergate.PutOf(&tiergate.User{ID: "eve", Tier: "free"}),
		tiergate.PutOf(&tiergate.Member{TeamID: "globex", UserID: "eve", Role: tiergate.RoleMember}),
		tiergate.PutOf(&tiergate.Member{TeamID: "initech", UserID: "eve", Role: tiergate.RoleMember}),
		tiergate.PutOf(&tiergate.Member{TeamID: "no-such-team", UserID: "eve", Role: tiergate.RoleMember}),
		boolean("in-team", func(f *tiergate.Flag) {
			f.Rules.Targeting = raw(`{"if":[{"!":[{"var":"team"}]},"off","on"]}`)
		}),
	)
	if d := ask(t, e, "in-team", `{"targetingKey":"eve"}`); d.Variant != "off" || d.Tier != "pro" {
		t.Errorf("without a team: %+v", d)
	}
	if d := ask(t, e, "in-team", `{"targetingKey":"eve","teamId":"initech"}`); d.Variant != "on" || d.Tier != "free" {
		t.Errorf("with a team: %+v", d)
	}
}

// The caller's tier counts only where a setting says so.
func TestOptions_TrustContextTier(t *testing.T) {
	for _, trusted := range []bool{false, true} {
		e := newEngine(evaluator.Options{TrustContextTier: trusted})
		apply(t, e, whole(1,
			tiergate.PutOf(&tiergate.Tier{Key: "free", Name: "Free"}),
			tiergate.PutOf(&tiergate.Tier{Key: "pro", Name: "Pro", Rank: 1}),
			boolean("x", func(f *tiergate.Flag) { f.Rules.Tiers = []string{"pro"} }),
		))
		if d := ask(t, e, "x", `{"tier":"pro"}`); d.Denied == trusted {
			t.Errorf("trusted %v: %+v", trusted, d)
		}
		if d := ask(t, e, "x", `{"tier":"no-such-tier"}`); !d.Denied {
			t.Errorf("a tier that does not exist, trusted %v: %+v", trusted, d)
		}
	}
}

// While no tier is defined rules read the tier and the team that the caller names, as flagd has
// it, where a setting says so.
func TestOptions_TrustContextTier_without_tiers(t *testing.T) {
	rule := func(name string) func(*tiergate.Flag) {
		return func(f *tiergate.Flag) {
			f.OffVariant, f.Rules.Targeting = "off", json.RawMessage(`{"if": [{"in": [{"var": "`+name+`"}, ["gold"]]}, "on", "off"]}`)
		}
	}
	for _, trusted := range []bool{false, true} {
		e := newEngine(evaluator.Options{TrustContextTier: trusted})
		apply(t, e, whole(1, boolean("by-tier", rule("tier")), boolean("by-team", rule("team"))))
		want := map[bool]string{false: "off", true: "on"}[trusted]
		for _, flag := range []string{"by-tier", "by-team"} {
			d := ask(t, e, flag, `{"targetingKey":"eve","tier":"gold","team":"gold"}`)
			if d.Variant != want || d.Tier != "" {
				t.Errorf("%s, trusted %v: %+v", flag, trusted, d)
			}
			if d := ask(t, e, flag, `{"targetingKey":"eve","tier":7}`); d.Variant != "off" {
				t.Errorf("%s without one, trusted %v: %+v", flag, trusted, d)
			}
		}
	}
}

// A flag's metadata lies over its set's, in the order of the names.
func TestGeneration_Decide_metadata(t *testing.T) {
	e := demo(t,
		tiergate.PutOf(&tiergate.FlagSet{Name: tiergate.DefaultSet, Metadata: map[string]any{"owner": "web", "z": true}}),
		boolean("x", func(f *tiergate.Flag) { f.Metadata = map[string]any{"owner": `a "b"`, "n": 1.5} }),
		boolean("y", nil),
	)
	for flag, want := range map[string]string{"x": `"n":1.5,"owner":"a \"b\"","z":true`, "y": `"owner":"web","z":true`} {
		if got := string(ask(t, e, flag, `{}`).Metadata); got != want {
			t.Errorf("metadata of %s is %s, want %s", flag, got, want)
		}
	}
	if got := string(e.Generation().SetMetadata("")); got != `"owner":"web","z":true` {
		t.Errorf("metadata of the set is %s", got)
	}
}

// A number keeps its literal, and values go out without white space.
func TestGeneration_Decide_values(t *testing.T) {
	e := demo(t, boolean("n", func(f *tiergate.Flag) {
		f.Type, f.Variants, f.DefaultVariant, f.OffVariant = tiergate.Number, map[string]json.RawMessage{"v": raw(" 9007199254740993")}, "v", ""
	}), boolean("o", func(f *tiergate.Flag) {
		f.Type, f.Variants, f.DefaultVariant, f.OffVariant = tiergate.Object, map[string]json.RawMessage{"v": raw(`{ "a": [1, "x y"] }`)}, "v", ""
	}))
	for flag, want := range map[string]string{"n": "9007199254740993", "o": `{"a":[1,"x y"]}`} {
		if got := string(ask(t, e, flag, `{}`).Value); got != want {
			t.Errorf("value of %s is %s, want %s", flag, got, want)
		}
	}
}

// All gives for each flag, in the order of names, what Decide gives, and of metered ones a limit.
func TestGeneration_All_is_Decide_for_each(t *testing.T) {
	e := demo(t, boolean("broken", func(f *tiergate.Flag) { f.DefaultVariant = "nope" }))
	for _, user := range []string{"alice", "bob", "ivan", "carol", ""} {
		var last string
		n := 0
		req := tiergate.Request{UserID: user, Now: now}
		for d := range e.Generation().All(&req) {
			one := req
			one.Flag = d.Flag
			want := e.Generation().Decide(&one)
			if want.Limit = d.Limit; d.Limit != nil && !d.Metered {
				t.Errorf("%s for %q has limit %+v", d.Flag, user, d.Limit)
			}
			if diff := cmp.Diff(want, d); diff != "" {
				t.Errorf("%s for %q: All and Decide differ:\n%s", d.Flag, user, diff)
			}
			if d.Flag <= last {
				t.Errorf("%s comes behind %s", d.Flag, last)
			}
			last = d.Flag
			n++
		}
		if n != 11 {
			t.Errorf("All gives %d flags", n)
		}
	}
	for range e.Generation().All(&tiergate.Request{Set: "no-such-set"}) {
		t.Error("a set that does not exist has a flag")
	}
}

// A flag's set says how often time alone may change its answers.
func TestGeneration_Steps(t *testing.T) {
	e := demo(t)
	g := e.Generation()
	if got := g.Steps(""); got != tiergate.StepNever {
		t.Errorf("without a clock: %d", got)
	}
	timed := func(f *tiergate.Flag) {
		f.Rules.Targeting = raw(`{"if":[{">":[{"var":"$flagd.timestamp"},5]},"on","off"]}`)
	}
	apply(t, e, step(2, boolean("timed", timed)))
	if got := e.Generation().Steps(""); got != tiergate.StepAlways {
		t.Errorf("with a timed flag: %d", got)
	}
	apply(t, e, step(3, boolean("timed", nil)))
	if got := e.Generation().Steps(""); got != tiergate.StepNever {
		t.Errorf("with the timed flag mended: %d", got)
	}
	if !g.HasSet("default") || !g.HasSet("") || g.HasSet("other") || !strings.HasSuffix(g.Resume().Revision(), "-1") {
		t.Errorf("sets or revision %s are wrong", g.Resume().Revision())
	}
}
