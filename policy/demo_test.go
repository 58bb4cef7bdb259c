package policy_test

import (
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/policy"
)

// demoDefinitions are those of the demo data.
func demoDefinitions() policy.Definitions {
	return policy.Definitions{
		Tiers: []tiergate.Tier{
			{Key: "free", Name: "Free", Rank: 0}, {Key: "pro", Name: "Pro", Rank: 10}, {Key: "enterprise", Name: "Enterprise", Rank: 20},
		},
		Limits: []tiergate.Limit{
			{
				Key: "model-training-per-month", Feature: "model-training", Kind: tiergate.Quota, Scope: "team", Period: "month",
				Amounts: map[string]*int64{"free": new(int64(0)), "pro": new(int64(5)), "enterprise": new(int64(100))},
			},
			{
				Key: "model-training-at-once", Feature: "model-training", Kind: tiergate.Concurrency, Scope: "team",
				Amounts: map[string]*int64{"free": new(int64(0)), "pro": new(int64(1)), "enterprise": new(int64(4))},
			},
			{
				Key: "exports-per-day", Feature: "exports", Kind: tiergate.Quota, Scope: "user", Period: "day",
				Amounts: map[string]*int64{"free": new(int64(3)), "pro": new(int64(50)), "enterprise": nil},
			},
			{
				Key: "api-calls-per-second", Feature: "api-calls", Kind: tiergate.Rate, Scope: "team", Period: "second",
				Amounts: map[string]*int64{"free": new(int64(10)), "pro": new(int64(100)), "enterprise": new(int64(1000))},
				Bursts:  map[string]int64{"free": 20, "pro": 200, "enterprise": 2000},
			},
		},
	}
}

var (
	acme    = policy.NewTeam(&tiergate.Team{ID: "acme", Tier: "enterprise", Status: "active", Settings: tiergate.TeamSettings{MaxMembers: 5}})
	initech = policy.NewTeam(&tiergate.Team{
		ID: "initech", Tier: "free", Status: "active",
		Settings: tiergate.TeamSettings{MaxMembers: 5, AllowedFeatures: []string{"custom-reports"}},
	})

	// closed is a team like acme and initech in one, but suspended.
	closed = policy.NewTeam(&tiergate.Team{
		ID: "closed", Tier: "enterprise", Status: "suspended",
		Settings: tiergate.TeamSettings{MaxMembers: 5, AllowedFeatures: []string{"custom-reports"}},
	})

	everyone   = policy.NewFeature("new-dashboard", "default", tiergate.Boolean, true, nil, 100, nil)
	training   = policy.NewFeature("model-training", "default", tiergate.Boolean, true, []string{"pro", "enterprise"}, 100, nil)
	reports    = policy.NewFeature("custom-reports", "default", tiergate.Boolean, true, []string{"enterprise"}, 100, nil)
	alice      = policy.Subject{UserID: "alice", UserTier: "free", TeamTier: "enterprise"}
	ivan       = policy.Subject{UserID: "ivan", UserTier: "free", TeamTier: "free"}
	carol      = policy.Subject{UserID: "carol", UserTier: "free"}
	unknown    = policy.Subject{UserID: "somebody"}
	aliceAcme  = policy.Subject{UserID: "alice", UserTier: "free", TeamTier: "enterprise", Team: acme, Role: "OWNER"}
	ivanHome   = policy.Subject{UserID: "ivan", UserTier: "free", TeamTier: "free", Team: initech, Role: "OWNER"}
	carolLies  = policy.Subject{UserID: "carol", UserTier: "free", Team: acme}
	acmeAlone  = policy.Subject{Team: acme}
	acmeKey    = &tiergate.Key{ID: "k1", TeamID: "acme", Scopes: []string{"evaluate"}}
	carolByKey = policy.Subject{UserID: "carol", UserTier: "free", Team: acme, Key: acmeKey}
)

func compileDemo(t testing.TB) *policy.Engine {
	t.Helper()
	e, err := policy.Settings{Deadline: time.Second}.Compile(nil, demoDefinitions()) // whatever else the machine does
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// The built-in policy answers as the hand-computed table says, first and when asked again.
func TestEngine_Access_builtin(t *testing.T) {
	e := compileDemo(t)
	for _, c := range []struct {
		name    string
		feature *policy.Feature
		subject policy.Subject
		want    policy.Access
	}{
		{"a flag without tiers is everybody's", everyone, carol, policy.Access{Tier: "free", Allow: true, Reason: "everyone"}},
		{"an unknown user is on the lowest tier", training, unknown, policy.Access{Tier: "free", Reason: "tier", Upgrade: "pro"}},
		{"nobody at all is on the lowest tier", training, policy.Subject{}, policy.Access{Tier: "free", Reason: "tier", Upgrade: "pro"}},
		{"the highest of a user's teams counts", training, alice, policy.Access{Tier: "enterprise", Allow: true, Reason: "tier"}},
		{"a denial names the lowest tier that would do", reports, carol, policy.Access{Tier: "free", Reason: "tier", Upgrade: "enterprise"}},
		{"a member has the team's tier", training, aliceAcme, policy.Access{Tier: "enterprise", Allow: true, Reason: "tier"}},
		{"a stranger gains nothing by naming a team", training, carolLies, policy.Access{Tier: "free", Reason: "tier", Upgrade: "pro"}},
		{"a team without a user speaks for itself", training, acmeAlone, policy.Access{Tier: "enterprise", Allow: true, Reason: "tier"}},
		{"a team's own key speaks for the team", training, carolByKey, policy.Access{Tier: "enterprise", Allow: true, Reason: "tier"}},
		{"an exception opens a flag to a team", reports, ivanHome, policy.Access{Tier: "free", Allow: true, Reason: "team"}},
		{"a suspended team gives its members nothing", reports, policy.Subject{UserID: "zoe", UserTier: "free", Team: closed, Role: "OWNER"}, policy.Access{Tier: "free", Reason: "tier", Upgrade: "enterprise"}},
		{"a suspended team is on the lowest tier", training, policy.Subject{Team: closed}, policy.Access{Tier: "free", Reason: "tier", Upgrade: "pro"}},
		{"a suspended team's key gives nothing", reports, policy.Subject{Team: closed, Key: &tiergate.Key{ID: "k", TeamID: "closed"}}, policy.Access{Tier: "free", Reason: "tier", Upgrade: "enterprise"}},
		{"the exception needs the team named", reports, ivan, policy.Access{Tier: "free", Reason: "tier", Upgrade: "enterprise"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 {
				got, err := e.Access(&policy.Input{Feature: c.feature, Subject: c.subject})
				if err != nil || got != c.want {
					t.Errorf("Access = %+v, %v, want %+v", got, err, c.want)
				}
			}
		})
	}
}

// A caller cannot choose a tier or a team by an attribute of that name.
func TestEngine_Access_resolved_attributes_win(t *testing.T) {
	e, err := policy.Compile(map[string]string{"access.rego": `package tiergate.access
		decision := {"allow": input.attributes.tier == "enterprise", "reason": input.attributes.tier}`}, demoDefinitions())
	if err != nil {
		t.Fatal(err)
	}
	lie := tiergate.ObjectOf([]string{"tier", "team"}, []tiergate.Value{tiergate.StringOf("enterprise"), tiergate.StringOf("acme")})
	got, err := e.Access(&policy.Input{Feature: training, Subject: carol, Attributes: lie})
	want := policy.Access{Tier: "free", Reason: "free", Upgrade: "enterprise"}
	if err != nil || got != want {
		t.Errorf("Access = %+v, %v, want %+v", got, err, want)
	}
}

// Naming a team that one is not in does not make it one's team.
func TestEngine_Access_team_of_others_is_not_the_subjects(t *testing.T) {
	e, err := policy.Compile(map[string]string{
		"access.rego": `package tiergate.access
		default decision := {"allow": false, "reason": "other"}
		decision := {"allow": true, "reason": "acme"} if input.attributes.team == "acme"`,
		"tier.rego": `package tiergate.subject
		tier := "free"`, // which reads nothing, so that the team is all that an answer is remembered by
	}, demoDefinitions())
	if err != nil {
		t.Fatal(err)
	}
	acme := policy.NewTeam(&tiergate.Team{ID: "acme", Tier: "enterprise", Status: "active"})
	frozen := policy.NewTeam(&tiergate.Team{ID: "acme", Tier: "enterprise", Status: "suspended"})
	for range 2 { // computed, then remembered
		for story, c := range map[string]struct {
			subject policy.Subject
			allow   bool
		}{
			"a stranger":     {policy.Subject{UserID: "carol", Team: acme}, false},
			"a member":       {policy.Subject{UserID: "carol", Team: acme, Role: "MEMBER"}, true},
			"the team":       {policy.Subject{Team: acme}, true},
			"the team's key": {policy.Subject{UserID: "carol", Team: acme, Key: &tiergate.Key{ID: "k", TeamID: "acme"}}, true},
			"suspended":      {policy.Subject{UserID: "carol", Team: frozen, Role: "MEMBER"}, false},
		} {
			if got, err := e.Access(&policy.Input{Feature: training, Subject: c.subject}); err != nil || got.Allow != c.allow {
				t.Errorf("%s: %+v, %v", story, got, err)
			}
		}
	}
}

func limitsOf(e *policy.Engine, in *policy.Input, tier string) ([]policy.Limit, error) {
	limits, err := e.Limits(in, tier)
	if err != nil {
		return nil, err
	}
	return limits.List, nil
}

// What is derived from an answer is derived once for all who get that answer, and a known
// answer costs no allocation.
func TestEngine_Limits_hit_allocates_nothing(t *testing.T) {
	e := compileDemo(t)
	in := &policy.Input{Feature: training}
	derived := 0
	var n float64
	for range 3 {
		n = testing.AllocsPerRun(100, func() {
			l, err := e.Limits(in, "pro")
			if err != nil || l.Derived(func(list []policy.Limit) any { derived++; return len(list) }) != 2 {
				t.Fatal("not what was derived", err)
			}
		})
	}
	if n != 0 || derived != 1 {
		t.Errorf("a hit allocates %v times, and %d times something was derived", n, derived)
	}
}

// The built-in limits are those of the tier, with every default filled in.
func TestEngine_Limits_builtin(t *testing.T) {
	e := compileDemo(t)
	for range 2 {
		got, err := limitsOf(e, &policy.Input{Feature: training}, "pro")
		if err != nil || len(got) != 2 || got[0].Amount != 5 || got[0].Class != "exact" || got[0].Cost != 1 || got[1].Amount != 1 {
			t.Errorf("Limits = %+v, %v", got, err)
		}
	}
	rate := policy.NewFeature("api-calls", "default", tiergate.Boolean, true, nil, 100, nil)
	got, err := limitsOf(e, &policy.Input{Feature: rate}, "pro")
	if err != nil || len(got) != 1 || got[0].Burst != 200 || got[0].OnUnavailable != "deny" || got[0].Class != "local" {
		t.Errorf("Limits = %+v, %v", got, err)
	}
	exports := policy.NewFeature("exports", "default", tiergate.Boolean, true, nil, 100, nil)
	if got, err := limitsOf(e, &policy.Input{Feature: exports}, "enterprise"); err != nil || len(got) != 1 || !got[0].Unlimited {
		t.Errorf("Limits of an unlimited tier = %+v, %v", got, err)
	}
}

// An anchor comes through, and what of time the limits depend on is known.
func TestEngine_Limits_of_time(t *testing.T) {
	defs := demoDefinitions()
	defs.Limits = append(defs.Limits, tiergate.Limit{
		Key: "a", Feature: "anchored", Kind: tiergate.Quota, Scope: "team", Period: "month", Zone: "Europe/Zurich", Anchor: "2026-01-31",
	})
	for clock, want := range map[string]tiergate.ClockStep{
		"": tiergate.StepNever, "day": tiergate.StepDay, "hour": tiergate.StepHour,
	} {
		modules := map[string]string{}
		if clock != "" {
			modules["limits.rego"] = "package tiergate.limits\n\nlimits := [l | some l in data.tiergate.definitions.limits[input.feature.name]; input.clock." + clock + " > 100]"
		}
		e, err := policy.Settings{Deadline: time.Minute}.Compile(modules, defs)
		if err != nil {
			t.Fatal(err)
		}
		if e.LimitsStep() != want || e.ClockStep() != tiergate.StepNever {
			t.Errorf("a policy that reads the %s: the limits' step is %d and the access's %d", clock, e.LimitsStep(), e.ClockStep())
		}
		if clock == "" {
			got, err := limitsOf(e, &policy.Input{Feature: policy.NewFeature("anchored", "default", "", true, nil, 100, nil)}, "pro")
			if err != nil || len(got) != 1 || got[0].Anchor != "2026-01-31" || got[0].Zone != "Europe/Zurich" || got[0].Amount != 0 {
				t.Errorf("Limits = %+v, %v", got, err)
			}
		}
	}
}

// An access decision that is known costs no allocation.
func TestEngine_Access_hit_allocates_nothing(t *testing.T) {
	e := compileDemo(t)
	in := &policy.Input{Feature: reports, Subject: ivanHome}
	if _, err := e.Access(in); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = e.Access(in) }); n != 0 {
		t.Errorf("a hit allocates %v times", n)
	}
}

// Whoever is asked about on several tiers is on each one as if on no other: the input, its
// subject and its attributes equal what they are copied to, by their hashes too.
func TestEngine_Access_input_is_whole_on_every_tier(t *testing.T) {
	e, err := policy.Settings{Deadline: time.Second}.Compile(map[string]string{"access.rego": `package tiergate.access
		copy_of(x) := {k: v | some k, v in x}
		default decision := {"allow": false, "reason": "no"}
		decision := {"allow": true, "reason": "yes"} if {
			copy_of(input) in {input}
			copy_of(input.subject) in {input.subject}
			copy_of(input.attributes) in {input.attributes}
			input.subject.tier == "enterprise"
			input.attributes.tier == "enterprise"
		}`}, demoDefinitions())
	if err != nil {
		t.Fatal(err)
	}
	asked := tiergate.ObjectOf([]string{"plan"}, []tiergate.Value{tiergate.StringOf("any")})
	for name, c := range map[string]struct {
		subject policy.Subject
		want    policy.Access
	}{
		"lifted":  {ivanHome, policy.Access{Tier: "free", Reason: "no", Upgrade: "enterprise"}},
		"is on":   {aliceAcme, policy.Access{Tier: "enterprise", Allow: true, Reason: "yes"}},
		"by key":  {carolByKey, policy.Access{Tier: "enterprise", Allow: true, Reason: "yes"}},
		"nobody":  {policy.Subject{}, policy.Access{Tier: "free", Reason: "no", Upgrade: "enterprise"}},
		"unknown": {unknown, policy.Access{Tier: "free", Reason: "no", Upgrade: "enterprise"}},
	} {
		if got, err := e.Decide(&policy.Input{Feature: reports, Subject: c.subject, Attributes: asked}); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, c.want)
		}
	}
}

// A decision with nothing remembered makes few objects: what it costs is mostly these.
func TestEngine_Access_uncached_allocates_little(t *testing.T) {
	e := compileDemo(t)
	in := &policy.Input{Feature: reports, Subject: ivanHome}
	if n := testing.AllocsPerRun(1000, func() { _, _ = e.Decide(in) }); n > 150 {
		t.Errorf("a decision allocates %v times", n)
	}
}

// The terms that are kept of one feature, team or pair of tiers are no other's.
func TestEngine_Access_kept_terms_are_their_own(t *testing.T) {
	e := compileDemo(t)
	for range 2 {
		for i, c := range []struct {
			subject policy.Subject
			tier    string
			allow   bool
		}{
			{policy.Subject{UserID: "a", UserTier: "free", TeamTier: "pro"}, "pro", false},
			{policy.Subject{UserID: "a", UserTier: "enterprise", TeamTier: "pro"}, "enterprise", true},
			{policy.Subject{UserID: "a", UserTier: "pro", TeamTier: "free"}, "pro", false},
			{policy.Subject{UserID: "a", UserTier: "free", Team: acme}, "free", false},
			{policy.Subject{UserID: "a", UserTier: "free", Team: acme, Role: "OWNER"}, "enterprise", true},
			{policy.Subject{UserID: "a", UserTier: "free", Team: acme, Key: acmeKey}, "enterprise", true},
			{policy.Subject{UserID: "a", UserTier: "free", Team: initech, Role: "OWNER"}, "free", true},
			{policy.Subject{UserID: "a", UserTier: "free", Team: closed, Role: "OWNER"}, "free", false},
			{policy.Subject{}, "free", false},
		} {
			if got, err := e.Decide(&policy.Input{Feature: reports, Subject: c.subject}); err != nil || got.Tier != c.tier || got.Allow != c.allow {
				t.Errorf("%d: %+v, %v", i, got, err)
			}
		}
		if got, err := e.Decide(&policy.Input{Feature: everyone, Subject: carol}); err != nil || got.Reason != "everyone" {
			t.Errorf("everyone's: %+v, %v", got, err)
		}
	}
}
