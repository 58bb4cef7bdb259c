package decision_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server/decision"
)

// The description has each route with its method, and no other.
func TestOpenAPI_has_every_route(t *testing.T) {
	addr, _ := serve(t, nil)
	got := ask(t, addr, request("GET", "/v1/openapi.yaml", ""))
	if got.status != 200 || got.header.Get("Content-Type") != "application/yaml" {
		t.Fatalf("%d %v", got.status, got.header)
	}
	api := describeAPI(t, got.body)
	described := map[string]string{}
	for path, methods := range api.at("#/paths") {
		described[path] = strings.Join(slices.Collect(maps.Keys(methods.(map[string]any))), ",")
	}
	if diff := cmp.Diff(decision.Routes(), described); diff != "" {
		t.Errorf("routes (-have +described):\n%s", diff)
	}
}

// Each answer of each kind is as the description has it, and each member that the description
// has is in some answer.
func TestOpenAPI_describes_every_answer(t *testing.T) {
	r := new(reservations)
	addr, _ := serve(t, func(cfg *decision.Config) { cfg.Reservations = r })
	api := describeAPI(t, ask(t, addr, request("GET", "/v1/openapi.yaml", "")).body)
	check := func(schema, raw string) {
		t.Helper()
		got := ask(t, addr, raw)
		var value any
		if err := json.Unmarshal([]byte(got.body), &value); err != nil {
			t.Fatalf("%s: %v", got.body, err)
		}
		if err := api.check("#/components/schemas/"+schema, value); err != nil {
			t.Errorf("%.60s is answered with %s, which is no %s: %v", raw, got.body, schema, err)
		}
	}
	features := []string{"x", "exports", "tier", "exhausted", "contended", "away", "nobody", "nope", "replayed"}
	for _, feature := range features {
		body := fmt.Sprintf(`{"feature":%q}`, feature)
		check("Decision", post("/v1/check", body))
		check("Batch", post("/v1/batch/consume", `{"items":[`+body+`,{}]}`))
		check("Reserved", post("/v1/reservations", `{"feature":"`+feature+`","metadata":{"a":1}}`))
		if feature != "x" && feature != "exports" && feature != "replayed" {
			check("Denied", post("/v1/consume?reflect=1", body))
			check("Denied", post("/v1/reservations?reflect=1", body))
			check("ProxyDenied", request("GET", "/v1/auth/forward?feature="+feature, ""))
		}
	}
	check("Problem", post("/v1/check", `{}`))
	check("Problem", request("GET", "/v1/auth/nginx", ""))
	check("ReservationAnswer", request("GET", "/v1/reservations/r1", ""))
	check("ReservationAnswer", post("/v1/reservations/r1/commit", `{"actual":2}`))
	r.fail = &tiergate.ShortError{Bucket: tiergate.Bucket{Limit: "l"}}
	check("Problem", post("/v1/reservations/r1/commit", ""))
	// A replayed answer is never a denying one, and an allowing one has no upgrade to sell.
	never := []string{
		"#/components/schemas/Denied.replayed",
	}
	for _, schema := range []string{"Decision", "Batch", "Reserved", "ReservationAnswer", "Problem", "Denied", "ProxyDenied"} {
		for _, member := range api.unseen("#/components/schemas/" + schema) {
			if !slices.Contains(never, member) {
				t.Errorf("no answer has %s", member)
			}
		}
	}
}

// Each member of each question that the description has is one that the door takes, and no
// other; so are the parameters of proxies.
func TestOpenAPI_describes_every_question(t *testing.T) {
	addr, _ := serve(t, func(cfg *decision.Config) { cfg.Reservations = new(reservations) })
	api := describeAPI(t, ask(t, addr, request("GET", "/v1/openapi.yaml", "")).body)
	values := map[string]string{
		"feature": `"x"`, "subject": `{"user":"u","team":null}`, "attributes": `{}`, "set": `"default"`, "cost": `1`, "idempotencyKey": `"k"`,
		"metadata": `{}`, "at": `"2026-03-01T12:00:00Z"`, "id": `"i"`, "ttlMs": `1000`, "item": `"i"`, "items": `[]`, "actual": `1`, "capped": `true`,
	}
	for path, schema := range map[string]string{
		"check": "Check", "consume": "Consume", "track": "Track", "reservations": "Reserve", "gauges/add": "GaugeItem", "gauges/remove": "GaugeItem",
		"gauges/replace": "GaugeItems", "reservations/r1/extend": "Extend", "reservations/r1/commit": "Commit", "reservations/r1/release": "Release",
	} {
		described, _ := api.at("#/components/schemas/" + schema)["properties"].(map[string]any)
		required, _ := api.at("#/components/schemas/" + schema)["required"].([]any)
		for name, value := range values {
			members := map[string]json.RawMessage{name: json.RawMessage(value)}
			for _, r := range required {
				members[r.(string)] = json.RawMessage(values[r.(string)])
			}
			body, _ := json.Marshal(members)
			got := ask(t, addr, post("/v1/"+path, string(body)))
			if _, is := described[name]; is != (got.status == 200) {
				t.Errorf("%s with %s: described is %v, and the answer is %d %s", path, name, is, got.status, got.body)
			}
		}
	}
	for name := range api.at("#/components/parameters") {
		p := api.at("#/components/parameters/" + name)
		if p["in"] != "query" || name == "Reflect" {
			continue
		}
		value := map[any]string{"cost": "1", "mode": "check"}[p["name"]]
		if value == "" {
			value = "x"
		}
		query := fmt.Sprintf("%v=%s", p["name"], value)
		if p["name"] != "feature" {
			query += "&feature=x"
		}
		if got := ask(t, addr, request("GET", "/v1/auth/forward?"+query, "")); got.status != 204 {
			t.Errorf("%s: %d %s", query, got.status, got.body)
		}
	}
}
