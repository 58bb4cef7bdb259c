package tiergate.limits_test

import data.tiergate.limits

definitions := {"limits": {
	"exports": [{
		"key": "exports-per-day", "kind": "quota", "scope": "user", "class": "exact", "period": "day", "zone": "",
		"cost": 1, "onUnavailable": "deny", "amounts": {"free": 3, "pro": 50, "enterprise": null}, "bursts": {},
	}],
	"api-calls": [{
		"key": "api-rate", "kind": "rate", "scope": "team", "class": "local", "period": "second", "zone": "",
		"cost": 1, "onUnavailable": "deny", "amounts": {"free": 10, "pro": 100, "enterprise": null}, "bursts": {"free": 20},
	}],
}}

limits_of(feature, tier) := answer if {
	answer := limits.limits with input as {"feature": {"name": feature}, "subject": {"tier": tier}}
		with data.tiergate.definitions as definitions
}

test_amount_of_the_tier if {
	limits_of("exports", "free") == [{
		"key": "exports-per-day", "kind": "quota", "scope": "user", "class": "exact", "period": "day", "zone": "",
		"cost": 1, "onUnavailable": "deny", "amount": 3,
	}]
}

test_null_is_unlimited if {
	[limit.amount | some limit in limits_of("exports", "enterprise")] == [null]
}

test_a_tier_left_out_gets_nothing if {
	[limit.amount | some limit in limits_of("exports", "trial")] == [0]
}

test_burst_of_a_rate if {
	[limit.burst | some limit in limits_of("api-calls", "free")] == [20]
	[limit.burst | some limit in limits_of("api-calls", "pro")] == [100]
	[limit | some limit in limits_of("api-calls", "enterprise"); limit.burst] == []
}

test_a_feature_without_limits if {
	limits_of("dashboard", "free") == []
}
