# METADATA
# title: When the team speaks for the subject
# description: |
#   A team is named by the request or by the credential. It counts only for its members, when
#   no user is named, and for its own API keys: anybody may name any team. One that is
#   suspended counts for nobody.
package tiergate.team

# METADATA
# title: Nobody's team counts unless a rule below says so
default applies := false

# METADATA
# title: The user is a member
applies if {
	input.subject.team.status == "active"
	input.subject.team.role
}

# METADATA
# title: No user is named
# description: A named user always has a tier, "" when the user is not known.
applies if {
	input.subject.team.status == "active"
	not input.subject.user.tier
}

# METADATA
# title: The credential is the team's own key
applies if {
	input.subject.team.status == "active"
	input.subject.team.byKey
}
