package admin_test

import (
	"testing"

	"github.com/tiergate/tiergate/admin"
)

// A tier lives under its key, which may hold any character of a name.
func TestTiers_full_life(t *testing.T) {
	run(t, admin.New(newWorld(t).config), []exchange{
		{name: "make", method: "POST", path: "/api/tiers", body: `{"key":"pro/eu plus","name":"Pro","rank":10}`, status: 201, headers: map[string]string{"Location": "/api/tiers/pro%2Feu%20plus", "ETag": `"1"`}},
		{name: "again", method: "POST", path: "/api/tiers", body: `{"key":"pro/eu plus","name":"Pro","rank":10}`, status: 409},
		{name: "list", path: "/api/tiers", status: 200, want: map[string]any{"items.0.key": "free", "items.1.rank": 10}},
		{name: "read", path: "/api/tiers/pro%2Feu%20plus", status: 200, want: map[string]any{"name": "Pro"}, headers: map[string]string{"ETag": `"1"`}},
		{name: "have", path: "/api/tiers/free", header: map[string]string{"If-None-Match": "*"}, status: 304},
		{name: "replace", method: "PUT", path: "/api/tiers/pro%2Feu%20plus", body: `{"name":"Pro+","rank":11}`, status: 200, want: map[string]any{"key": "pro/eu plus", "rank": 11, "version": 2}},
		{name: "another key", method: "PUT", path: "/api/tiers/free", body: `{"key":"gratis","name":"Free","rank":0}`, status: 422, want: map[string]any{"errors.0.field": "key"}},
		{name: "patch", method: "PATCH", path: "/api/tiers/pro%2Feu%20plus", header: map[string]string{"If-Match": `"2"`}, body: `{"rank":-5}`, status: 200, want: map[string]any{"name": "Pro+", "rank": -5}},
		{name: "patch the key", method: "PATCH", path: "/api/tiers/free", body: `{"key":"gratis"}`, status: 422},
		{name: "stale", method: "PATCH", path: "/api/tiers/pro%2Feu%20plus", header: map[string]string{"If-Match": `"2"`}, body: `{"rank":1}`, status: 412},
		{name: "no rank", method: "POST", path: "/api/tiers", body: `{"key":"x","name":"X"}`, status: 422, want: map[string]any{"errors.0.field": "rank"}},
		{name: "half a rank", method: "POST", path: "/api/tiers", body: `{"key":"x","name":"X","rank":1.5}`, status: 422, want: map[string]any{"errors.0.field": "rank"}},
		{name: "a huge rank", method: "POST", path: "/api/tiers", body: `{"key":"x","name":"X","rank":1e99}`, status: 422},
		{name: "an odd key", method: "POST", path: "/api/tiers", body: `{"key":"-x","name":"X","rank":1}`, status: 422, want: map[string]any{"errors.0.field": "key"}},
		{name: "in use", method: "DELETE", path: "/api/tiers/free", status: 409, want: map[string]any{"detail": "tier free is in use"}},
		{name: "delete", method: "DELETE", path: "/api/tiers/pro%2Feu%20plus", status: 204},
		{name: "gone", path: "/api/tiers/pro%2Feu%20plus", status: 404},
		{name: "nothing to replace", method: "PUT", path: "/api/tiers/none", body: `{"name":"Pro+","rank":11}`, status: 404},
	})
}
