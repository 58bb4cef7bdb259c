package tiergate.subject_test

import data.tiergate.subject

tiers := {
	"free": {"key": "free", "rank": 0},
	"pro": {"key": "pro", "rank": 10},
	"enterprise": {"key": "enterprise", "rank": 20},
}

tier_of(who) := answer if {
	answer := subject.tier with input as {"subject": who} with data.tiergate.definitions.tiers as tiers
}

test_team_tier_counts_for_a_member if {
	tier_of({"user": {"tier": "enterprise"}, "team": {"status": "active", "tier": "pro", "role": "MEMBER"}}) == "pro"
}

test_team_tier_does_not_count_for_a_stranger if {
	tier_of({"user": {"tier": "free"}, "team": {"status": "active", "tier": "enterprise"}}) == "free"
}

test_team_tier_counts_when_no_user_is_named if {
	tier_of({"team": {"status": "active", "tier": "pro"}}) == "pro"
}

test_the_tier_of_a_suspended_team_does_not_count if {
	tier_of({"user": {"tier": "pro"}, "team": {"status": "suspended", "tier": "enterprise", "role": "OWNER"}}) == "pro"
	tier_of({"user": {"tier": "pro"}, "team": {"status": "suspended", "tier": "enterprise", "byKey": true}}) == "pro"
	tier_of({"team": {"status": "suspended", "tier": "enterprise", "byKey": true}}) == "free"
}

test_highest_of_own_and_teams if {
	tier_of({"user": {"tier": "free", "teamTier": "enterprise"}}) == "enterprise"
	tier_of({"user": {"tier": "pro", "teamTier": "free"}}) == "pro"
	tier_of({"user": {"tier": "", "teamTier": "pro"}}) == "pro"
	tier_of({"user": {"tier": "pro", "teamTier": ""}}) == "pro"
}

test_unknown_users_are_on_the_lowest if {
	tier_of({"user": {"tier": "", "teamTier": ""}}) == "free"
	tier_of({}) == "free"
}

test_a_tier_that_is_not_defined_does_not_count if {
	tier_of({"user": {"tier": "gold", "teamTier": ""}}) == "free"
	tier_of({"user": {"tier": "pro"}, "team": {"status": "active", "tier": "gold", "role": "OWNER"}}) == "pro"
}

test_no_tiers_at_all if {
	subject.tier == "" with input as {"subject": {"user": {"tier": "pro"}}} with data.tiergate.definitions.tiers as {}
}
