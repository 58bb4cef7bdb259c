package tiergate.team_test

import data.tiergate.team

test_member if {
	team.applies with input as {"subject": {"user": {"tier": "free"}, "team": {"tier": "pro", "role": "MEMBER"}}}
}

test_stranger_may_not_name_a_team if {
	not team.applies with input as {"subject": {"user": {"tier": "free"}, "team": {"tier": "pro", "byKey": false}}}
}

test_unknown_user_may_not_name_a_team if {
	not team.applies with input as {"subject": {"user": {"tier": ""}, "team": {"tier": "pro", "byKey": false}}}
}

test_nobody_named if {
	team.applies with input as {"subject": {"team": {"tier": "pro", "byKey": false}}}
}

test_own_key if {
	team.applies with input as {"subject": {"user": {"tier": "free"}, "team": {"tier": "pro", "byKey": true}}}
}

test_no_team if {
	not team.applies with input as {"subject": {"user": {"tier": "free"}}}
	not team.applies with input as {}
}
