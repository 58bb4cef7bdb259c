package evaluator_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
)

// Whatever policy is published, a document never serves more than the sidecar does: where
// the sidecar denies, nobody is on, and what a document does not withhold it serves alike.
func TestExport_never_serves_more_than_the_sidecar(t *testing.T) {
	denied, withheld, alike := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		e := newEngine(evaluator.Options{})
		changes := conformance.Demo()
		flags := 1 + rapid.IntRange(0, 4).Draw(t, "flags")
		for i := range flags {
			changes = append(changes, drawFlag(t, fmt.Sprintf("f%d", i)))
		}
		if err := e.Apply(t.Context(), whole(1, append(changes, drawPolicy(t))...)); err != nil {
			t.Fatalf("Apply: %v", err)
		}
		doc, err := e.Export("")
		if err != nil {
			t.Fatal(err)
		}
		why := map[string]tiergate.Withholding{}
		for _, w := range doc.Withheld {
			why[w.Name] = w.Why
		}
		decides := documentOf(t, doc)
		for range 4 {
			req := drawRequest(t)
			for i := range flags {
				req.Flag = fmt.Sprintf("f%d", i)
				ours := e.Generation().Decide(req)
				theirs := decides.variant(req.Flag, req, ours.Tier)
				switch {
				case theirs == "" || theirs == "off": // what everybody may have
				case ours.Denied || ours.Variant != theirs:
					t.Fatalf("%+v: %q in the document, here %+v\n%s", req, theirs, ours, doc.JSON)
				}
				switch {
				case ours.Denied:
					denied++
				case why[req.Flag] != "":
					withheld++
				case ours.ErrorCode == "" && ours.Variant != theirs:
					t.Fatalf("%+v: %q in the document, here %+v\n%s", req, theirs, ours, doc.JSON)
				default:
					alike++
				}
			}
		}
	})
	if denied == 0 || withheld == 0 || alike == 0 {
		t.Errorf("denied %d, withheld %d, alike %d: something never happened", denied, withheld, alike)
	}
	t.Logf("denied %d, withheld %d, alike %d", denied, withheld, alike)
}

func drawFlag(t *rapid.T, name string) tiergate.Change {
	return boolean(name, func(f *tiergate.Flag) {
		f.Rules.Tiers = rapid.SampledFrom([][]string{{}, {"pro"}, {"free"}, {"pro", "enterprise"}}).Draw(t, "tiers")
		f.Rules.Percentage = rapid.SampledFrom([]float64{100, 100, 50, 0}).Draw(t, "percentage")
		f.OffVariant = rapid.SampledFrom([]string{"off", "off", ""}).Draw(t, "off")
		f.DefaultVariant = rapid.SampledFrom([]string{"on", "on", ""}).Draw(t, "default")
		f.Metadata = rapid.SampledFrom([]map[string]any{nil, {"open": true}}).Draw(t, "metadata")
		f.Rules.Targeting = raw(rapid.SampledFrom([]string{
			`null`, `{"if":[{"==":[{"var":"country"},"NL"]},"on",null]}`, `{"fractional":[["on",1],["off",1]]}`,
			`{"if":[{"==":[{"var":"tier"},"pro"]},"on","off"]}`,
		}).Draw(t, "targeting"))
		if string(f.Rules.Targeting) == "null" {
			f.Rules.Targeting = nil
		}
	})
}

// drawPolicy draws access, and sometimes tiers, over all that a policy can read.
func drawPolicy(t *rapid.T) tiergate.Change {
	condition := rapid.SampledFrom([]string{
		`true`, `input.subject.tier == "pro"`, `input.subject.tier in input.feature.tiers`, `"pro" in input.feature.tiers`,
		`input.attributes.country == "NL"`, `input.subject.user.id == "alice"`, `input.subject.user.tier == "free"`,
		`input.subject.team.role == "OWNER"`, `input.subject.team.id == "acme"`, `input.clock.hour < 12`, `input.feature.name == "f0"`,
		`input.feature.metadata.open`, `input.attributes.tier == "pro"`, `input.feature.percentage > 50`, `count(input.subject) > 1`,
		`some x in input`, `input.feature.name in input.subject.team.settings.allowedFeatures`, `not input.subject.user`,
	})
	decision := rapid.SampledFrom([]string{
		`{"allow": true, "reason": "r"}`, `{"allow": true, "reason": "r"}`, `{"allow": false, "reason": "r"}`, `{"allow": false, "reason": "r"}`,
		`{"allow": true, "reason": "r", "variant": "on"}`, `{"allow": true, "reason": "r", "variant": "off"}`,
		`{"allow": true, "reason": "r", "variant": "nope"}`, `{"allow": "yes"}`,
	})
	modules := map[string]string{}
	if rapid.IntRange(0, 7).Draw(t, "own access") > 0 {
		rules := "package tiergate.access\n\n"
		if rapid.Bool().Draw(t, "default") {
			rules += "default decision := " + decision.Draw(t, "otherwise") + "\n\n"
		}
		rules += "decision := " + decision.Draw(t, "then") + " if " + condition.Draw(t, "if")
		for range rapid.IntRange(0, 2).Draw(t, "elses") {
			rules += " else := " + decision.Draw(t, "then") + " if " + condition.Draw(t, "if")
		}
		modules["access.rego"] = rules + "\n"
	}
	if rapid.IntRange(0, 3).Draw(t, "own tier") == 0 {
		modules["tier.rego"] = "package tiergate.subject\n\ndefault tier := \"free\"\n\ntier := \"pro\" if " + condition.Filter(func(c string) bool {
			return !strings.Contains(c, "input.subject.tier") && !strings.Contains(c, "attributes.tier")
		}).Draw(t, "tier if") + "\n"
	}
	return bundle(1, "", func(b *tiergate.PolicyBundle) {
		b.Modules, b.Hash = modules, tiergate.ModulesHash(modules)
	})
}

func drawRequest(t *rapid.T) *tiergate.Request {
	user := rapid.SampledFrom([]string{"alice", "bob", "carol", "ivan", "mallory", "u1", "u2", ""}).Draw(t, "user")
	team := rapid.SampledFrom([]string{"", "", "acme", "initech"}).Draw(t, "team")
	country := rapid.SampledFrom([]string{"NL", "BE"}).Draw(t, "country")
	return &tiergate.Request{
		UserID: user, TeamID: team, Now: now,
		Attributes: tiergate.ObjectOf([]string{"country"}, []tiergate.Value{tiergate.StringOf(country)}),
	}
}
