package demo

import (
	"encoding/json"

	"github.com/tiergate/tiergate"
)

// Data returns the demo data: three tiers, three teams, five users, ten flags, and limits.
// Its ids are readable on purpose.
func Data() []tiergate.Change {
	var changes []tiergate.Change
	put := func(things ...any) {
		for _, thing := range things {
			changes = append(changes, tiergate.PutOf(thing))
		}
	}
	put(&tiergate.FlagSet{Name: tiergate.DefaultSet, Fractional: "v2"})
	put(
		&tiergate.Tier{Key: "free", Name: "Free", Rank: 0},
		&tiergate.Tier{Key: "pro", Name: "Pro", Rank: 10},
		&tiergate.Tier{Key: "enterprise", Name: "Enterprise", Rank: 20},
	)
	for _, id := range []string{"alice", "bob", "carol", "dave", "ivan"} {
		put(&tiergate.User{ID: id, Tier: "free"})
	}
	put(
		team("acme", "Acme", "alice", "enterprise"),
		team("globex", "Globex", "bob", "pro"),
		team("initech", "Initech", "ivan", "free", "custom-reports"),
		&tiergate.Member{TeamID: "acme", UserID: "alice", Role: tiergate.RoleOwner},
		&tiergate.Member{TeamID: "acme", UserID: "dave", Role: tiergate.RoleMember},
		&tiergate.Member{TeamID: "globex", UserID: "bob", Role: tiergate.RoleOwner},
		&tiergate.Member{TeamID: "initech", UserID: "ivan", Role: tiergate.RoleOwner},
	)
	put(demoFlags()...)
	put(demoLimits()...)
	return changes
}

func team(id, name, owner, tier string, allowed ...string) *tiergate.Team {
	return &tiergate.Team{
		ID: id, Name: name, OwnerID: owner, Tier: tier, Status: "active",
		Settings: tiergate.TeamSettings{MaxMembers: 5, AllowedFeatures: append([]string{}, allowed...)},
	}
}

func demoFlags() []any {
	flags := []any{
		boolean("new-dashboard", "The new dashboard", 100),
		boolean("model-training", "Training models", 100, "pro", "enterprise"),
		boolean("api-access", "The public API", 100, "pro", "enterprise"),
		boolean("white-label", "Own logo and colours", 100, "enterprise"),
		boolean("custom-reports", "Reports of one's own", 100, "enterprise"),
		boolean("beta-search", "The new search, for one in four", 25),
	}
	old := boolean("legacy-export", "The old export, switched off", 100)
	old.Enabled = false
	return append(flags, old,
		flag("checkout-button", "Colour of the checkout button", tiergate.String, "blue",
			map[string]string{"blue": `"blue"`, "green": `"green"`},
			`{"fractional": [["blue", 50], ["green", 50]]}`),
		flag("max-upload-mb", "Largest upload in megabytes", tiergate.Number, "small",
			map[string]string{"small": `10`, "medium": `100`, "large": `1000`},
			`{"if": [{"==": [{"var": "tier"}, "enterprise"]}, "large", {"==": [{"var": "tier"}, "pro"]}, "medium", "small"]}`),
		flag("model-catalog", "Models on offer", tiergate.Object, "free",
			map[string]string{
				"free":       `{"models": ["small"], "gpu": false}`,
				"pro":        `{"models": ["small", "medium"], "gpu": true}`,
				"enterprise": `{"models": ["small", "medium", "large"], "gpu": true}`,
			},
			`{"var": "tier"}`))
}

func boolean(name, title string, percentage float64, tiers ...string) *tiergate.Flag {
	f := flag(name, title, tiergate.Boolean, "off", map[string]string{"on": "true", "off": "false"}, "")
	f.DefaultVariant = "on"
	f.Rules.Tiers, f.Rules.Percentage = append([]string{}, tiers...), percentage
	return f
}

// flag makes an enabled flag whose off variant is its default variant.
func flag(name, title string, typ tiergate.FlagType, off string, variants map[string]string, targeting string) *tiergate.Flag {
	f := &tiergate.Flag{
		ID: name, Set: tiergate.DefaultSet, Name: name, Title: title, Type: typ, Enabled: true,
		Variants: map[string]json.RawMessage{}, DefaultVariant: off, OffVariant: off,
		Rules: tiergate.Rules{Tiers: []string{}, Percentage: 100},
	}
	for name, value := range variants {
		f.Variants[name] = json.RawMessage(value)
	}
	if targeting != "" {
		f.Rules.Targeting = json.RawMessage(targeting)
	}
	return f
}

func demoLimits() []any {
	return []any{
		&tiergate.Limit{
			ID: "model-training-monthly", Key: "model-training-monthly", Feature: "model-training",
			Kind: tiergate.Quota, Scope: "team", Class: "exact", Period: "month", Cost: 1,
			Amounts: amounts(0, 5, 100), OnUnavailable: "deny",
		},
		&tiergate.Limit{
			ID: "model-training-at-once", Key: "model-training-at-once", Feature: "model-training",
			Kind: tiergate.Concurrency, Scope: "team", Cost: 1, Amounts: amounts(0, 1, 4), OnUnavailable: "deny",
		},
		&tiergate.Limit{
			ID: "exports-daily", Key: "exports-daily", Feature: "exports",
			Kind: tiergate.Quota, Scope: "user", Class: "exact", Period: "day", Cost: 1,
			Amounts: amounts(3, 50, -1), OnUnavailable: "deny",
		},
		&tiergate.Limit{
			ID: "api-calls-rate", Key: "api-calls-rate", Feature: "api-calls",
			Kind: tiergate.Rate, Scope: "team", Class: "local", Period: "second", Cost: 1,
			Amounts: amounts(10, 100, 1000), Bursts: map[string]int64{"free": 20, "pro": 200, "enterprise": 2000},
			OnUnavailable: "deny",
		},
		&tiergate.Limit{
			ID: "seats", Key: "seats", Feature: "seats",
			Kind: tiergate.Gauge, Scope: "team", Cost: 1, Amounts: amounts(5, 25, 500), OnUnavailable: "deny",
		},
	}
}

// amounts are the units of free, pro and enterprise; −1 is unlimited.
func amounts(free, pro, enterprise int64) map[string]*int64 {
	all := map[string]*int64{}
	for tier, n := range map[string]int64{"free": free, "pro": pro, "enterprise": enterprise} {
		all[tier] = nil
		if n >= 0 {
			all[tier] = &n
		}
	}
	return all
}
