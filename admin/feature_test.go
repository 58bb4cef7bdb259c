package admin_test

import (
	"testing"

	"github.com/tiergate/tiergate/admin"
)

// A feature is made, found, read, replaced, patched and deleted, each with its versions.
func TestFeatures_full_life(t *testing.T) {
	w := newWorld(t)
	run(t, admin.New(w.config), []exchange{
		{
			name: "only a name makes a boolean feature that nobody gets", method: "POST", path: "/api/features",
			body: `{"name":"new-dashboard"}`, status: 201,
			want: map[string]any{
				"set": "default", "type": "boolean", "enabled": false, "variants": map[string]any{"on": true, "off": false},
				"defaultVariant": "on", "offVariant": "off", "version": 1,
				"rules": map[string]any{"tiers": []any{}, "percentage": 0},
			},
			headers: map[string]string{"Location": "/api/features/id-1", "ETag": `"1"`, "Tiergate-Revision": "01234567-1"},
		},
	})
}
