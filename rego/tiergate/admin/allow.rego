# METADATA
# title: Who may do what in the admin API
# description: |
#   An action is "<things>.<verb>", such as flags.read, flags.write or policies.publish.
package tiergate.admin

# METADATA
# title: Nobody may do anything unless a rule below says so
default allow := false

# METADATA
# title: Admins may do everything
allow if input.caller.role == "admin"

# METADATA
# title: Everybody with a platform role may read
allow if {
	input.caller.role in {"editor", "viewer"}
	endswith(input.action, ".read")
}

# METADATA
# title: Editors may change what is decided by flags and limits, and try policies
allow if {
	input.caller.role == "editor"
	input.action in {
		"flags.write",
		"limits.write",
		"policies.check",
		"playground.use",
	}
}
