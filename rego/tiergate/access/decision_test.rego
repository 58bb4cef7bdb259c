package tiergate.access_test

import data.tiergate.access

test_open_to_everybody if {
	access.decision == {"allow": true, "reason": "everyone"} with input as {"feature": {"name": "f", "tiers": []}}
}

test_by_tier if {
	access.decision == {"allow": true, "reason": "tier"} with input as {
		"feature": {"name": "f", "tiers": ["pro", "enterprise"]},
		"subject": {"tier": "pro"},
	}
}

test_denied if {
	access.decision == {"allow": false, "reason": "tier"} with input as {
		"feature": {"name": "f", "tiers": ["pro"]},
		"subject": {"tier": "free"},
	}
}

test_by_the_team_exception if {
	access.decision == {"allow": true, "reason": "team"} with input as {
		"feature": {"name": "f", "tiers": ["pro"]},
		"subject": {
			"tier": "free", "user": {"tier": "free"},
			"team": {"status": "active", "tier": "free", "role": "OWNER", "settings": {"allowedFeatures": ["f"]}},
		},
	}
}

test_the_team_exception_is_for_members if {
	access.decision == {"allow": false, "reason": "tier"} with input as {
		"feature": {"name": "f", "tiers": ["pro"]},
		"subject": {
			"tier": "free", "user": {"tier": "free"},
			"team": {"status": "active", "tier": "free", "settings": {"allowedFeatures": ["f"]}},
		},
	}
}

test_the_team_exception_ends_with_suspension if {
	access.decision == {"allow": false, "reason": "tier"} with input as {
		"feature": {"name": "f", "tiers": ["pro"]},
		"subject": {
			"tier": "free", "user": {"tier": "free"},
			"team": {"status": "suspended", "tier": "free", "role": "OWNER", "settings": {"allowedFeatures": ["f"]}},
		},
	}
}

test_an_empty_input_is_denied if {
	access.decision == {"allow": false, "reason": "tier"} with input as {}
}
