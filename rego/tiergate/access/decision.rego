# METADATA
# title: Whether the subject may use the feature
package tiergate.access

import data.tiergate.team

# METADATA
# title: Denied for want of a tier unless a rule below allows
default decision := {"allow": false, "reason": "tier"}

# METADATA
# title: Open to everybody, to the tier, or to the team by exception
decision := {"allow": true, "reason": "everyone"} if {
	input.feature.tiers == []
} else := {"allow": true, "reason": "tier"} if {
	input.subject.tier in input.feature.tiers
} else := {"allow": true, "reason": "team"} if {
	team.applies
	input.feature.name in input.subject.team.settings.allowedFeatures
}
