package tiergate.admin_test

import data.tiergate.admin

allowed(role, action) if admin.allow with input as {"caller": {"id": "x", "role": role}, "action": action}

test_admin_may_everything if {
	every action in ["flags.read", "flags.write", "tiers.write", "policies.publish", "anything"] {
		allowed("admin", action)
	}
}

test_editor if {
	every action in ["flags.read", "flags.write", "limits.write", "policies.read", "policies.check"] {
		allowed("editor", action)
	}
	not allowed("editor", "tiers.write")
	not allowed("editor", "policies.publish")
}

test_viewer if {
	allowed("viewer", "flags.read")
	not allowed("viewer", "flags.write")
	not allowed("viewer", "policies.check")
}

test_nobody if {
	not allowed("", "flags.read")
	not allowed("owner", "flags.read")
	not admin.allow with input as {}
}
