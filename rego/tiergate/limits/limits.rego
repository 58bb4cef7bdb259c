# METADATA
# title: Which limits apply to the subject's use of the feature
package tiergate.limits

import data.tiergate.definitions

# METADATA
# title: Every limit on the feature, with the amount of the subject's tier
# description: An amount of null is unlimited, and limits only by exception; a tier left out gets 0.
limits := [limit |
	some definition in definitions.limits[input.feature.name]
	amount := object.get(definition.amounts, [input.subject.tier], 0)
	limit := object.union_n([common(definition), {"amount": amount}, burst(definition, amount)])
]

# METADATA
# title: What a limit has whatever the tier
common(definition) := object.remove(definition, ["amounts", "bursts", "feature"])

# METADATA
# title: What a rate lets through at once, by default its amount; other kinds have none
burst(definition, amount) := {"burst": object.get(definition.bursts, [input.subject.tier], amount)} if {
	definition.kind == "rate"
	amount != null
} else := {}
