package policy_test

import (
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/policy"
)

// What the policy's rules read says whether its answer about a feature is everybody's, and
// whether the tier alone decides.
func TestEngine_SameForAll_and_TierDecides(t *testing.T) {
	const (
		access = "package tiergate.access\n\n"
		allow  = `decision := {"allow": true, "reason": "r"}`
		tier   = "package tiergate.subject\n\ntier := "
	)
	for story, tc := range map[string]struct {
		modules       map[string]string
		same, decides bool
	}{
		"the built-in policy, about a feature with tiers": {nil, false, true},
		"access is allowed to all":                        {map[string]string{"a.rego": access + allow}, true, false},
		"access depends on the feature":                   {map[string]string{"a.rego": access + allow + " if input.feature.metadata.open"}, true, false},
		"access depends on the tier":                      {map[string]string{"a.rego": access + allow + ` if input.subject.tier == "pro"`}, false, false},
		"access depends on the tier among attributes":     {map[string]string{"a.rego": access + allow + ` if input.attributes.tier == "pro"`}, false, false},
		"access depends on the time":                      {map[string]string{"a.rego": access + allow + ` if input.clock.hour == 3`}, false, false},
		"access depends on everything":                    {map[string]string{"a.rego": access + allow + ` if count(input) == 3`}, false, false},
		"access is allowed to all, and a tier that may fail": {
			map[string]string{"a.rego": access + allow, "t.rego": tier + `input.attributes.plan`}, false, false,
		},
		"a tier of its own":                  {map[string]string{"t.rego": tier + `"free"`}, false, true},
		"a tier that depends on the feature": {map[string]string{"t.rego": tier + `input.feature.metadata.tier`}, false, false},
		"a tier that depends on everything":  {map[string]string{"t.rego": tier + `"free" if count(input) == 3`}, false, false},
	} {
		t.Run(story, func(t *testing.T) {
			e, err := policy.Compile(tc.modules, policy.Definitions{})
			if err != nil {
				t.Fatal(err)
			}
			if e, err = e.WithDefinitions(policy.Definitions{Tiers: []tiergate.Tier{{Key: "free"}, {Key: "pro", Rank: 1}}}); err != nil {
				t.Fatal(err)
			}
			f := policy.NewFeature("x", "default", tiergate.Boolean, true, []string{"pro"}, 100, nil)
			if got := e.SameForAll(f); got != tc.same {
				t.Errorf("%s: the same for all is %v", story, got)
			}
			if got := e.TierDecides(); got != tc.decides {
				t.Errorf("%s: the tier decides is %v", story, got)
			}
		})
	}
}
