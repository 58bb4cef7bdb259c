# METADATA
# title: The effective tier of the subject
package tiergate.subject

import data.tiergate.definitions.tiers
import data.tiergate.team

# METADATA
# title: Nobody has a tier while none is defined
default tier := ""

# METADATA
# title: The team's tier, else the highest of the user's own, else the lowest there is
tier := input.subject.team.tier if {
	team.applies
	tiers[input.subject.team.tier]
} else := highest_own if {
	true
} else := lowest

# METADATA
# title: The tiers that the user has personally and by membership
own contains input.subject.user.tier if tiers[input.subject.user.tier]

# METADATA
# title: The highest tier among the user's teams
own contains input.subject.user.teamTier if tiers[input.subject.user.teamTier]

# METADATA
# title: The highest-ranked of the user's tiers
highest_own := key if {
	top := max([tiers[key].rank | some key in own])
	some key in own
	tiers[key].rank == top
}

# METADATA
# title: The lowest-ranked tier of all, where unknown users are
lowest := key if {
	bottom := min([tier.rank | some tier in tiers])
	some key, definition in tiers
	definition.rank == bottom
}
