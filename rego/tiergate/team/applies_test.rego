package tiergate.team_test

import data.tiergate.team

test_member if {
	team.applies with input as {"subject": {"user": {"tier": "free"}, "team": {"status": "active", "tier": "pro", "role": "MEMBER"}}}
}

test_stranger_may_not_name_a_team if {
	not team.applies with input as {"subject": {"user": {"tier": "free"}, "team": {"status": "active", "tier": "pro", "byKey": false}}}
}

test_unknown_user_may_not_name_a_team if {
	not team.applies with input as {"subject": {"user": {"tier": ""}, "team": {"status": "active", "tier": "pro", "byKey": false}}}
}

test_nobody_named if {
	team.applies with input as {"subject": {"team": {"status": "active", "tier": "pro", "byKey": false}}}
}

test_own_key if {
	team.applies with input as {"subject": {"user": {"tier": "free"}, "team": {"status": "active", "tier": "pro", "byKey": true}}}
}

test_no_team if {
	not team.applies with input as {"subject": {"user": {"tier": "free"}}}
	not team.applies with input as {}
}

test_suspended_speaks_for_nobody if {
	not team.applies with input as {"subject": {"user": {"tier": "free"}, "team": {"status": "suspended", "tier": "pro", "role": "OWNER"}}}
	not team.applies with input as {"subject": {"team": {"status": "suspended", "tier": "pro", "byKey": false}}}
	not team.applies with input as {"subject": {"user": {"tier": "free"}, "team": {"status": "suspended", "tier": "pro", "byKey": true}}}
}

test_a_status_unheard_of_speaks_for_nobody if {
	not team.applies with input as {"subject": {"team": {"status": "closed", "tier": "pro"}}}
	not team.applies with input as {"subject": {"team": {"tier": "pro"}}}
}
