package admin_test

import (
	"testing"

	"github.com/tiergate/tiergate/admin"
)

const exportsPerDay = `{"key":"exports-per-day","feature":"exports","kind":"quota","scope":"user","period":"day","zone":"Europe/Berlin","anchor":"2026-01-31T15:00:00","amounts":{"free":3,"pro":50,"enterprise":null},"onUnavailable":"allowUpTo(9007199254740992)"}`

// A limit is made, found by its feature, read, replaced, patched and deleted.
func TestLimits_full_life(t *testing.T) {
	w := newWorld(t)
	const one = "/api/limits/id-1"
	run(t, admin.New(w.config), []exchange{
		{
			name: "make", method: "POST", path: "/api/limits", body: exportsPerDay, status: 201,
			want:    map[string]any{"amounts": map[string]any{"free": 3, "pro": 50, "enterprise": nil}, "zone": "Europe/Berlin", "anchor": "2026-01-31T15:00:00", "onUnavailable": "allowUpTo(9007199254740992)", "cost": 0},
			headers: map[string]string{"Location": one, "ETag": `"1"`},
		},
		{name: "again", method: "POST", path: "/api/limits", body: exportsPerDay, status: 409},
		{name: "of the feature", path: "/api/limits?feature=exports", status: 200, want: map[string]any{"items.0.id": "id-1"}},
		{name: "of another", path: "/api/limits?feature=imports", status: 200, want: map[string]any{"items": []any{}}},
		{name: "read", path: one, status: 200, want: map[string]any{"kind": "quota"}},
		{name: "have", path: one, header: map[string]string{"If-None-Match": `"1"`}, status: 304},
		{name: "patch one amount and unlimit another", method: "PATCH", path: one, body: `{"amounts":{"free":9007199254740992}}`, status: 200, want: map[string]any{"amounts.pro": 50, "version": 2}},
		{name: "replace", method: "PUT", path: one, body: `{"key":"e","feature":"exports","kind":"rate","scope":"team","period":"second","class":"local","amounts":{"pro":10},"bursts":{"pro":20},"cost":2}`, status: 200, want: map[string]any{"bursts.pro": 20, "class": "local", "zone": nil, "anchor": nil}},
		{name: "delete", method: "DELETE", path: one, status: 204},
		{name: "gone", path: one, status: 404},
		{name: "nothing to delete", method: "DELETE", path: one, status: 404},
	})
}

// A limit that cannot be is refused, and the problem names the field.
func TestLimits_bad_definitions(t *testing.T) {
	app := admin.New(newWorld(t).config)
	for name, c := range map[string]struct{ body, field string }{
		"unknown kind":        {`{"key":"k","feature":"f","kind":"cap","scope":"team","amounts":{}}`, "kind"},
		"unknown scope":       {`{"key":"k","feature":"f","kind":"gauge","scope":"all","amounts":{}}`, "scope"},
		"no amounts":          {`{"key":"k","feature":"f","kind":"gauge","scope":"team"}`, "amounts"},
		"a period of a gauge": {`{"key":"k","feature":"f","kind":"gauge","scope":"team","period":"day","amounts":{}}`, "period"},
		"a negative amount":   {`{"key":"k","feature":"f","kind":"gauge","scope":"team","amounts":{"pro":-1}}`, "amounts.pro"},
		"half an amount":      {`{"key":"k","feature":"f","kind":"gauge","scope":"team","amounts":{"pro":1.5}}`, "amounts.pro"},
		"an amount in words":  {`{"key":"k","feature":"f","kind":"gauge","scope":"team","amounts":{"pro":"1"}}`, "amounts.pro"},
		"an unknown zone":     {`{"key":"k","feature":"f","kind":"quota","scope":"team","period":"day","zone":"Mars/Base","amounts":{}}`, "zone"},
		"no such day":         {`{"key":"k","feature":"f","kind":"quota","scope":"team","period":"month","anchor":"2026-02-29","amounts":{}}`, "anchor"},
		"an anchor of a rate": {`{"key":"k","feature":"f","kind":"rate","scope":"team","period":"second","anchor":"2026-01-31","amounts":{}}`, "anchor"},
		"nothing handed out":  {`{"key":"k","feature":"f","kind":"gauge","scope":"team","amounts":{},"onUnavailable":"allowUpTo(0)"}`, "onUnavailable"},
		"no such fallback":    {`{"key":"k","feature":"f","kind":"gauge","scope":"team","amounts":{},"onUnavailable":"maybe"}`, "onUnavailable"},
		"an id":               {`{"key":"k","feature":"f","kind":"gauge","scope":"team","amounts":{},"id":"x"}`, "id"},
	} {
		run(t, app, []exchange{{name: name, method: "POST", path: "/api/limits", body: c.body, status: 422, want: map[string]any{"errors.0.field": c.field}}})
	}
}

// What no int64 holds is refused and never wraps around.
func TestLimits_amounts_do_not_overflow(t *testing.T) {
	run(t, admin.New(newWorld(t).config), []exchange{
		{name: "2^64", method: "POST", path: "/api/limits", body: `{"key":"k","feature":"f","kind":"gauge","scope":"team","amounts":{"pro":18446744073709551616}}`, status: 422},
		{name: "2^53+1", method: "POST", path: "/api/limits", body: `{"key":"k","feature":"f","kind":"gauge","scope":"team","amounts":{"pro":9007199254740993}}`, status: 422, want: map[string]any{"errors.0.field": "amounts.pro"}},
	})
}
