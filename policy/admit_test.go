package policy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/policy"
)

// A sound policy is admitted under the program's own rules.
func TestAdmit_sound(t *testing.T) {
	for name, modules := range map[string]map[string]string{
		"the built-in one": nil,
		"an admin's": {
			"access.rego": `package tiergate.access

default decision := {"allow": false, "reason": "region"}

decision := {"allow": true, "reason": sprintf("region %s", [input.attributes.region]), "variant": "on"} if input.attributes.region in {"eu", "us"}`,
			"tier.rego": `package tiergate.subject

default tier := ""

tier := max(object.keys(data.tiergate.definitions.tiers))`,
			"access_test.rego": `package tiergate.access_test

test_region if data.tiergate.access.decision.allow with input as {"attributes": {"region": "eu"}}`,
		},
	} {
		for story, defs := range map[string]policy.Definitions{"the demo's": demoDefinitions(), "no": {}, "many": manyDefinitions()} {
			got, err := policy.Admit(t.Context(), modules, defs)
			if err != nil || got != policy.AdmissionID() {
				t.Errorf("%s over %s definitions: Admit = %q, %v, want %q", name, story, got, err, policy.AdmissionID())
			}
		}
	}
}

// manyDefinitions are as many tiers as there may be, and a limit for each.
func manyDefinitions() policy.Definitions {
	var defs policy.Definitions
	for i := range tiergate.MaxTiers {
		key := fmt.Sprint("tier-", i)
		defs.Tiers = append(defs.Tiers, tiergate.Tier{Key: key, Name: key, Rank: i})
		defs.Limits = append(defs.Limits, tiergate.Limit{
			Key: "limit-" + key, Feature: "feature-" + key, Kind: tiergate.Quota, Scope: "team", Period: "day",
			Amounts: map[string]*int64{key: new(int64(i))},
		})
	}
	return defs
}

// Each poisonous policy is refused with a reason, and this process lives on.
func TestAdmit_poison(t *testing.T) {
	access := func(body string) map[string]string {
		return map[string]string{"access.rego": "package tiergate.access\n\n" + body}
	}
	const answer = "\ndecision := {\"allow\": count(x) > 0, \"reason\": \"\"}\n"
	for name, c := range map[string]struct {
		modules map[string]string
		want    string
	}{
		"does not parse":         {access("decision := {"), "access.rego:3:"},
		"does not type-check":    {access(`decision := {"allow": 1 + "a", "reason": ""}`), "access.rego:3:"},
		"is in another package":  {map[string]string{"a.rego": "package example\n\na := 1"}, "a.rego:1:1: the package is example"},
		"takes the definitions":  {map[string]string{"a.rego": "package tiergate.definitions\n\ntiers := 1"}, "data of tiers"},
		"nests too deep":         {access("decision := " + strings.Repeat("[", 200) + strings.Repeat("]", 200)), "recursion depth"},
		"is too large":           {access("# " + strings.Repeat("x", 70<<10)), "more than 65536"},
		"has too many rules":     {access(strings.Repeat("r contains 1\n", 300)), "more than 200"},
		"is empty":               {map[string]string{"a.rego": ""}, "a.rego: "},
		"recurses":               {access("decision := decision"), "recursi"},
		"calls the network":      {access(`decision := http.send({"method": "get", "url": "http://127.0.0.1"})`), "undefined function http.send"},
		"mocks into the network": {access("f(x) := x\n" + `decision := d if d := f({"url": "x"}) with f as http.send`), "http is unsafe"},
		"shifts without bound":   {access("x := [bits.lsh(1, 1000000000000)]" + answer), "undefined function bits.lsh"},
		"writes a wide format":   {access(`x := sprintf("%1000000d", [1])` + answer), "sprintf"},
		"lets callers format":    {access(`x := sprintf(input.attributes.f, [1])` + answer), "sprintf"},
		"lets callers separate":  {access(`x := concat(input.attributes.f, input.attributes.l)` + answer), "concat"},
		"runs for ever": {access(`l := [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
x := [1 | some a in l; some b in l; some c in l; some d in l; some e in l; some f in l; some g in l; some h in l; a + b + c + d + e + f + g + h > 1000]` + answer), "overran"},
		"squares its text": {access(`a := "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
b := replace(a, "a", a)
c := replace(b, "a", b)
x := split(replace(c, "a", c), "")` + answer), ""},
		"answers no decision":         {access("decision := true"), "no object"},
		"forgets the reason":          {access(`decision := {"allow": true}`), "needs allow and reason"},
		"answers a number for reason": {access(`decision := {"allow": true, "reason": 1}`), "allow: boolean"},
		"conflicts with itself":       {access("decision := {\"allow\": true, \"reason\": \"\"}\n\ndecision := {\"allow\": false, \"reason\": \"\"}"), "conflict"},
		"has no answer for nobody":    {access(`decision := {"allow": true, "reason": ""} if input.subject.user.id`), "undefined"},
		"answers a tier of no string": {map[string]string{"t.rego": "package tiergate.subject\n\ntier := 1"}, "no string"},
		"has too many limits":         {map[string]string{"l.rego": "package tiergate.limits\n\nlimits := [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]"}, "more than 16"},
		"has a limit of no kind":      {map[string]string{"l.rego": "package tiergate.limits\n\nlimits := [{\"key\": \"a\", \"amount\": 1}]"}, "kind"},
		"conflicts for owners": {access(`decision := {"allow": false, "reason": ""}

decision := {"allow": true, "reason": ""} if input.subject.team.role == "OWNER"`), "access.rego:5:1: tried out with an owner of a team on tier"},
		"conflicts on the highest tier": {access(`decision := {"allow": true, "reason": ""}

decision := {"allow": false, "reason": ""} if input.subject.tier == "enterprise"`), "access.rego:5:1: tried out with "},
		"conflicts for a feature with tiers": {access(`decision := {"allow": true, "reason": ""}

decision := {"allow": false, "reason": ""} if count(input.feature.tiers) > 2`), "access.rego:5:1: tried out with "},
		"conflicts for an attribute that it mentions": {access(`default decision := {"allow": false, "reason": ""}

decision := {"allow": true, "reason": "a"} if input.attributes.region == "eu"

decision := {"allow": true, "reason": "b"} if input.attributes.region == "eu"`), `access.rego:7:1: tried out with nobody on tier "free" and a feature without tiers, attributes {"other":"eu","region":"eu"}: `},
		"has no answer for suspended teams": {access(`decision := {"allow": true, "reason": ""} if not input.subject.team.status == "suspended"`), "access.rego:3:1: tried out with a member of a suspended team"},
		"names a tier that is not defined": {map[string]string{"t.rego": `package tiergate.subject

tier := "gold" if input.subject.team.byKey
else := "free"`}, "t.rego:3:1: tried out with a team's key"},
		"overruns for keys": {map[string]string{"t.rego": `package tiergate.subject

n := [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]

tier := "free" if not input.subject.team.byKey
else := "pro" if count([1 | some a in n; some b in n; some c in n; some d in n; some e in n; some f in n; a + b + c + d + e + f > 1000]) == 0`}, "t.rego:5:1: tried out with a team's key"},
		"has a limit of no kind on one tier": {map[string]string{"l.rego": `package tiergate.limits

limits := [{"key": "a", "amount": 1}] if input.subject.tier == "enterprise"
else := []`}, "l.rego:3:1: tried out with "},
		"conflicts for editors": {map[string]string{"a.rego": `package tiergate.admin

allow if input.caller.role == "admin"

allow := input.action if input.caller.role == "admin"
allow := input.caller if input.caller.role == "editor"`}, "a.rego:5:1: tried out with the role \"admin\""},
		"answers admins no boolean": {map[string]string{"a.rego": `package tiergate.admin

allow if input.caller.role == "admin"

allow := "yes" if input.caller.role == "editor"`}, "a.rego:3:1: tried out with the role \"editor\""},
		"locks admins out":     {map[string]string{"a.rego": "package tiergate.admin\n\ndefault allow := false"}, "nobody could publish"},
		"brings a broken test": {map[string]string{"x_test.rego": "package x\n\ntest_a if {"}, "x_test.rego"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			_, err := policy.Admit(t.Context(), c.modules, demoDefinitions())
			if _, ok := errors.AsType[*policy.Error](err); !ok || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Admit says %v, want a refusal that says %q", err, c.want)
			}
			if tiergate.CodeOf(err) != tiergate.Invalid {
				t.Errorf("the code is %q", tiergate.CodeOf(err))
			}
		})
	}
}

// Where no tiers are known, those that the policy mentions are tried, and none is refused
// for not being defined.
func TestAdmit_without_definitions(t *testing.T) {
	modules := map[string]string{
		"access.rego": `package tiergate.access

decision := {"allow": true, "reason": ""}

decision := {"allow": false, "reason": ""} if input.subject.tier == "platinum"`,
	}
	if _, err := policy.Admit(t.Context(), modules, policy.Definitions{}); err == nil || !strings.Contains(err.Error(), "access.rego:5:1: tried out with ") {
		t.Errorf("a conflict on a tier is told as %v", err)
	}
	modules = map[string]string{"tier.rego": `package tiergate.subject

tier := concat("-", ["gold", input.subject.user.tier]) if input.subject.user.tier
else := "silver"`}
	if _, err := policy.Admit(t.Context(), modules, policy.Definitions{}); err != nil {
		t.Errorf("tiers that nobody defined: %v", err)
	}
}

// An admission that is cancelled is nobody's fault.
func TestAdmit_cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := policy.Admit(ctx, nil, policy.Definitions{}); tiergate.CodeOf(err) == tiergate.Invalid || err == nil {
		t.Errorf("Admit = %v", err)
	}
}
