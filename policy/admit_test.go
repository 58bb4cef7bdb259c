package policy_test

import (
	"context"
	"errors"
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
			"access_test.rego": `package tiergate.access_test

test_region if data.tiergate.access.decision.allow with input as {"attributes": {"region": "eu"}}`,
		},
	} {
		got, err := policy.Admit(t.Context(), modules, demoDefinitions())
		if err != nil || got != policy.AdmissionID() {
			t.Errorf("%s: Admit = %q, %v, want %q", name, got, err, policy.AdmissionID())
		}
	}
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
		"locks admins out":            {map[string]string{"a.rego": "package tiergate.admin\n\ndefault allow := false"}, "nobody could publish"},
		"brings a broken test":        {map[string]string{"x_test.rego": "package x\n\ntest_a if {"}, "x_test.rego"},
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

// An admission that is cancelled is nobody's fault.
func TestAdmit_cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := policy.Admit(ctx, nil, policy.Definitions{}); tiergate.CodeOf(err) == tiergate.Invalid || err == nil {
		t.Errorf("Admit = %v", err)
	}
}
