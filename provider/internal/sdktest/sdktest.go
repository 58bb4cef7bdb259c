// Package sdktest holds what every provider must do as the SDK's clients see it, for the tests of
// each.
package sdktest

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/telemetry"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/conformance"
)

// of makes an evaluation context of what a test has read from JSON.
func of(context map[string]any) openfeature.EvaluationContext {
	others := map[string]any{}
	for k, v := range context {
		if k != openfeature.TargetingKey {
			others[k] = v
		}
	}
	user, _ := context[openfeature.TargetingKey].(string)
	return openfeature.NewEvaluationContext(user, others)
}

// nobody is a code default that no flag has.
type nobody struct{}

// Ask asks a conformance case by the type of the value that it wants.
func Ask(t *testing.T, c *openfeature.Client, tc conformance.Case) conformance.Answer {
	t.Helper()
	var value any
	var d openfeature.EvaluationDetails
	switch want := tc.Want.Value.(type) {
	case bool:
		r, _ := c.BooleanValueDetails(t.Context(), tc.Flag, !want, of(tc.Context))
		value, d = r.Value, r.EvaluationDetails
	case string:
		r, _ := c.StringValueDetails(t.Context(), tc.Flag, "code default", of(tc.Context))
		value, d = r.Value, r.EvaluationDetails
	case float64:
		whole, err := c.IntValueDetails(t.Context(), tc.Flag, -1, of(tc.Context))
		r, _ := c.FloatValueDetails(t.Context(), tc.Flag, -1, of(tc.Context))
		if value, d = r.Value, r.EvaluationDetails; err != nil || float64(whole.Value) != r.Value {
			t.Errorf("%s is %v as an int, %v as a float: %v", tc.Flag, whole.Value, r.Value, err)
		}
	default:
		r, _ := c.ObjectValueDetails(t.Context(), tc.Flag, nobody{}, of(tc.Context))
		if value, d = r.Value, r.EvaluationDetails; value == any(nobody{}) {
			value = nil
		}
	}
	a := conformance.Answer{Value: value, Variant: d.Variant, Reason: string(d.Reason), ErrorCode: string(d.ErrorCode)}
	a.Tier, _ = d.FlagMetadata["tier"].(string)
	a.Denied, _ = d.FlagMetadata["denied"].(bool)
	a.Upgrade, _ = d.FlagMetadata["upgrade"].(string)
	if a.ErrorCode != "" {
		a.Tier = "" // which an error does not carry
	}
	return a
}

// Flags are those that Types asks for, besides the demo data.
func Flags() []tiergate.Change {
	put := func(name string, typ tiergate.FlagType, value string) tiergate.Change {
		return tiergate.PutOf(&tiergate.Flag{
			ID: name, Set: tiergate.DefaultSet, Name: name, Type: typ, Enabled: true,
			Variants: map[string]json.RawMessage{"v": json.RawMessage(value)}, DefaultVariant: "v", OffVariant: "v",
			Rules: tiergate.Rules{Tiers: []string{}, Percentage: 100},
		})
	}
	untold := put("untold", tiergate.Boolean, "true")
	untold.Put.(*tiergate.Flag).DefaultVariant = ""
	broken := put("broken", tiergate.Boolean, "true")
	broken.Put.(*tiergate.Flag).Fault = "its definition cannot be used"
	who := put("who", tiergate.String, `"nobody"`)
	f := who.Put.(*tiergate.Flag)
	f.Variants["alice"], f.Rules.Targeting = json.RawMessage(`"it is alice"`), json.RawMessage(
		`{"if": [{"and": [{"==": [{"var": "targetingKey"}, "alice"]}, {"==": [{"var": "device.cores"}, 8]}]}, "alice", "v"]}`)
	return []tiergate.Change{
		put("half", tiergate.Number, "0.5"), put("ten", tiergate.Number, "10"), put("big", tiergate.Number, "9007199254740993"),
		put("text", tiergate.String, `"a\u00e9\n"`), put("object", tiergate.Object, `{"a":[1,{"b":null}]}`),
		put("a/b c@d", tiergate.Boolean, "true"), untold, broken, who,
	}
}

// Types asks Flags in all types.
func Types(t *testing.T, c *openfeature.Client) {
	t.Helper()
	ctx, alice := t.Context(), openfeature.NewEvaluationContext("alice", map[string]any{"device": map[string]any{"cores": 8}})
	for _, tc := range []struct {
		story, flag, as string
		want            any
		reason, code    string
	}{
		{"A number is a float.", "half", "float", 0.5, "STATIC", ""},
		{"A whole number is a float too.", "ten", "float", 10.0, "STATIC", ""},
		{"A whole number is an int.", "ten", "int", int64(10), "STATIC", ""},
		{"A large int keeps its last digit.", "big", "int", int64(9007199254740993), "STATIC", ""},
		{"A fraction is no int.", "half", "int", int64(-1), "ERROR", "TYPE_MISMATCH"},
		{"A string with escapes.", "text", "string", "aé\n", "STATIC", ""},
		{"A string is no boolean.", "text", "boolean", true, "ERROR", "TYPE_MISMATCH"},
		{"A boolean is no string.", "new-dashboard", "string", "default", "ERROR", "TYPE_MISMATCH"},
		{"A number is no object.", "ten", "object", "default", "ERROR", "TYPE_MISMATCH"},
		{"An object.", "object", "object", map[string]any{"a": []any{1.0, map[string]any{"b": nil}}}, "STATIC", ""},
		{"An object is no float.", "object", "float", -1.0, "ERROR", "TYPE_MISMATCH"},
		{"A name with a slash and a space.", "a/b c@d", "boolean", true, "STATIC", ""},
		{"Without a default variant it is the code's.", "untold", "boolean", true, "DEFAULT", ""},
		{"A disabled flag is the code's default.", "legacy-export", "boolean", true, "DISABLED", ""},
		{"An unknown flag.", "nope", "boolean", true, "ERROR", "FLAG_NOT_FOUND"},
		{"No name at all.", "", "string", "default", "ERROR", "FLAG_NOT_FOUND"},
		{"A flag that cannot be used.", "broken", "boolean", true, "ERROR", "PARSE_ERROR"},
		{"The whole context counts.", "who", "string", "it is alice", "TARGETING_MATCH", ""},
	} {
		var got any
		var d openfeature.EvaluationDetails
		var err error
		switch tc.as {
		case "boolean":
			var r openfeature.BooleanEvaluationDetails
			r, err = c.BooleanValueDetails(ctx, tc.flag, true, alice)
			got, d = r.Value, r.EvaluationDetails
		case "string":
			var r openfeature.StringEvaluationDetails
			r, err = c.StringValueDetails(ctx, tc.flag, "default", alice)
			got, d = r.Value, r.EvaluationDetails
		case "int":
			var r openfeature.IntEvaluationDetails
			r, err = c.IntValueDetails(ctx, tc.flag, -1, alice)
			got, d = r.Value, r.EvaluationDetails
		case "float":
			var r openfeature.FloatEvaluationDetails
			r, err = c.FloatValueDetails(ctx, tc.flag, -1, alice)
			got, d = r.Value, r.EvaluationDetails
		case "object":
			var r openfeature.InterfaceEvaluationDetails
			r, err = c.ObjectValueDetails(ctx, tc.flag, "default", alice)
			got, d = r.Value, r.EvaluationDetails
		}
		if reason := string(d.Reason); !reflect.DeepEqual(got, tc.want) || reason != tc.reason || string(d.ErrorCode) != tc.code || (err == nil) != (tc.code == "") {
			t.Errorf("%s\n%s as %s is %v (%s %s, %v), want %v (%s %s)", tc.story, tc.flag, tc.as, got, reason, d.ErrorCode, err, tc.want, tc.reason, tc.code)
		}
	}
	for name, bad := range map[string]openfeature.EvaluationContext{
		"a team that is not a string":    openfeature.NewEvaluationContext("alice", map[string]any{"teamId": 7}),
		"a number without any JSON form": openfeature.NewEvaluationContext("alice", map[string]any{"x": func() {}}),
	} {
		if d, err := c.StringValueDetails(ctx, "who", "default", bad); d.ErrorCode != openfeature.InvalidContextCode || err == nil || d.Value != "default" {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

// A keeper is a hook that keeps what the SDK's telemetry makes of an evaluation.
type keeper struct {
	openfeature.UnimplementedHook
	made telemetry.EvaluationEvent
}

// Finally is called last.
func (k *keeper) Finally(_ context.Context, about openfeature.HookContext, d openfeature.InterfaceEvaluationDetails, _ openfeature.HookHints) {
	k.made = telemetry.CreateEvaluationEvent(about, d)
}

// Metadata asks what the answers tell besides, over the demo data with the set's metadata
// {"owner": "web"}.
func Metadata(t *testing.T, c *openfeature.Client, revision string) {
	t.Helper()
	var k keeper
	c.AddHooks(&k)
	d, err := c.BooleanValueDetails(t.Context(), "white-label", true, openfeature.NewEvaluationContext("bob", nil))
	if err != nil {
		t.Fatal(err)
	}
	want := openfeature.FlagMetadata{
		"owner": "web", "revision": revision, "version": revision, "flagSetId": "default",
		"tier": "pro", "denied": true, "denyReason": "tier", "upgrade": "enterprise",
	}
	if diff := cmp.Diff(want, d.FlagMetadata); d.Value || diff != "" {
		t.Errorf("white-label for bob is %v; metadata mismatch (-want +got):\n%s", d.Value, diff)
	}
	about := map[string]any{
		telemetry.FlagKey: "white-label", telemetry.ProviderNameKey: "tiergate", telemetry.ResultVariantKey: "off",
		telemetry.ResultReasonKey: strings.ToLower(string(d.Reason)), telemetry.ContextIDKey: "bob",
		telemetry.FlagSetIDKey: "default", telemetry.VersionKey: revision,
	}
	if diff := cmp.Diff(about, k.made.Attributes); diff != "" {
		t.Errorf("telemetry mismatch (-want +got):\n%s", diff)
	}
	d.FlagMetadata["tier"] = "spoilt"
	again, err := c.BooleanValueDetails(t.Context(), "white-label", true, openfeature.NewEvaluationContext("bob", nil))
	if err != nil || again.FlagMetadata["tier"] != "pro" {
		t.Errorf("another caller's metadata are %v, %v", again.FlagMetadata, err)
	}
	if d, _ := c.BooleanValueDetails(t.Context(), "nope", true, openfeature.NewEvaluationContext("bob", nil)); d.FlagMetadata["revision"] != revision {
		t.Errorf("an error tells %v", d.FlagMetadata)
	}
}
