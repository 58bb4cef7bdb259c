package admin_test

import (
	"testing"

	"github.com/tiergate/tiergate/admin"
)

// Teams and their members can be read, and not changed.
func TestTeams_are_read_only(t *testing.T) {
	run(t, admin.New(newWorld(t).config), []exchange{
		{name: "list", path: "/api/teams", status: 200, want: map[string]any{"items.0.id": "acme"}},
		{name: "read", path: "/api/teams/acme", status: 200, want: map[string]any{"settings": map[string]any{"maxMembers": 5, "allowedFeatures": []any{}}}, headers: map[string]string{"ETag": `"1"`}},
		{name: "have", path: "/api/teams/acme", header: map[string]string{"If-None-Match": `"1"`}, status: 304},
		{name: "members", path: "/api/teams/acme/members", status: 200, want: map[string]any{"items": []any{map[string]any{"teamId": "acme", "userId": "alice", "role": "OWNER"}}}},
		{name: "no team", path: "/api/teams/none", status: 404},
		{name: "no members", path: "/api/teams/none/members", status: 404},
		{name: "no change", method: "PATCH", path: "/api/teams/acme", body: `{"tier":"enterprise"}`, status: 405, headers: map[string]string{"Allow": "GET, HEAD"}},
	})
}

// Users can be read, and not changed.
func TestUsers_are_read_only(t *testing.T) {
	run(t, admin.New(newWorld(t).config), []exchange{
		{name: "list", path: "/api/users?pageSize=10", status: 200, want: map[string]any{"items.0.id": "alice"}},
		{name: "read", path: "/api/users/alice", status: 200, want: map[string]any{"tier": "free"}},
		{name: "no user", path: "/api/users/none", status: 404, want: map[string]any{"code": "not_found"}},
		{name: "no change", method: "DELETE", path: "/api/users/alice", status: 405},
	})
}
