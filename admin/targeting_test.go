package admin_test

import (
	"encoding/json"
	"testing"

	"github.com/tiergate/tiergate/admin"
)

// A variant that targeting names and the flag does not have is refused with its place;
// what is computed, compared or a bucket's key is no such name.
func TestFeatures_targeting_names_variants_that_exist(t *testing.T) {
	w := newWorld(t)
	app := admin.New(w.config)
	for rule, field := range map[string]string{
		`"green"`: "",
		`"gren"`:  "rules.targeting",
		`{"if":[{"==":[{"var":"tier"},"pro"]},"blue","gren"]}`:                   "rules.targeting.if[2]",
		`{"if":[{"==":["x","y"]},"gren",{"in":["a","b"]},"green"]}`:              "rules.targeting.if[1]",
		`{"?:":[true,{"if":[false,"blue",{"if":[true,"gren","blue"]}]},"blue"]}`: "rules.targeting.?:[1].if[2].if[1]",
		`{"if":["gren"]}`:                          "rules.targeting.if[0]",
		`{"if":[{"var":"a"},null,"blue"]}`:         "",
		`{"if":[{"var":"a"},true]}`:                "rules.targeting.if[1]",
		`{"if":[{"var":"a"},7]}`:                   "",
		`{"if":[{"var":"a"},8]}`:                   "rules.targeting.if[1]",
		`{"fractional":[["blue",50],["gren",50]]}`: "rules.targeting.fractional[1][0]",
		`{"fractional":["a key",["blue",50],[{"if":[true,"gren","blue"]},50]]}`:  "rules.targeting.fractional[2][0].if[1]",
		`{"fractional":[{"cat":["gren",{"var":"email"}]},["blue",1],["green"]]}`: "",
		`{"var":"gren"}`: "", `{"cat":["gr","en"]}`: "", `{"or":["gren","blue"]}`: "", `{"$ref":"gren"}`: "",
	} {
		body, err := json.Marshal(map[string]any{
			"name": "button", "type": "string", "variants": map[string]string{"blue": "#00f", "green": "#0f0", "7": "seven"},
			"rules": map[string]any{"targeting": json.RawMessage(rule)},
		})
		if err != nil {
			t.Fatal(err)
		}
		x := exchange{name: rule, method: "POST", path: "/api/features?dryRun=true", body: string(body), status: 201}
		if field != "" {
			x.status, x.want = 422, map[string]any{"code": "invalid", "errors.0.field": field}
		}
		run(t, app, []exchange{x})
	}
	run(t, app, []exchange{
		{
			name: "the problem says what there is", method: "POST", path: "/api/features", status: 422,
			body: `{"name":"x","rules":{"targeting":{"if":[true,"On"]}}}`,
			want: map[string]any{"detail": `targeting names the variant "On", which the flag does not have: it has off, on`},
		},
		{name: "a boolean has on and off", method: "POST", path: "/api/features", body: `{"name":"x","variants":{"on":true},"rules":{"targeting":{"if":[true,"on","off"]}}}`, status: 201},
		{name: "a patch too", method: "PATCH", path: "/api/features/id-1", body: `{"rules":{"targeting":{"if":[true,"on","of"]}}}`, status: 422, want: map[string]any{"errors.0.field": "rules.targeting.if[2]"}},
	})
}
