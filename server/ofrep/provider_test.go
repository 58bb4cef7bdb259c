package ofrep_test

import (
	"testing"

	"github.com/tiergate/tiergate/server/ofrep"
	"github.com/tiergate/tiergate/server/ofrep/ofreptest"
)

// The official providers for servers and for the web get right values, reasons, errors and code defaults.
func TestProvider_of_npm_understands_the_answers(t *testing.T) {
	gen := demo()
	delete(gen.sets["default"], "panics") // else there is no answer about all flags
	addr := serve(t, appOf(ofrep.Config{Evaluator: fakeOf(gen)}))
	alice := map[string]any{"targetingKey": "alice", "teamId": "acme", "age": 33, "tags": []string{"a"}}
	plain := func(value any, variant string) ofreptest.Want {
		return ofreptest.Want{Value: value, Variant: variant, Reason: "STATIC"}
	}
	failed := func(code string) ofreptest.Want { return ofreptest.Want{Reason: "ERROR", ErrorCode: code} }
	ofreptest.Run(t, "http://"+addr, []ofreptest.Case{
		{Story: "A boolean.", Flag: "on", Context: alice, Want: plain(true, "on")},
		{Story: "A string.", Flag: "blue", Context: alice, Want: plain("#00f", "blue")},
		{Story: "An integer.", Flag: "int", Context: alice, Want: plain(10, "ten")},
		{Story: "A float.", Flag: "float", Context: alice, Want: plain(10.0, "ten")},
		{Story: "An object.", Flag: "object", Context: alice, Want: plain(map[string]any{"models": []string{"a", "b"}, "max": 3}, "o")},
		{Story: "A name that must be encoded, which this provider does not.", Flag: "a/b c", Context: alice, Want: plain(true, "on")},
		{Story: "A name beyond ASCII.", Flag: "größe", Context: alice, Want: plain(true, "on")},
		{
			Story: "The subject is named by the context.", Flag: "who", Context: alice,
			Want: ofreptest.Want{Value: "alice of acme", Variant: "you", Reason: "TARGETING_MATCH", Tier: "free"},
		},
		{
			Story: "No context at all.", Flag: "who",
			Want: ofreptest.Want{Value: "nobody of no team", Variant: "you", Reason: "TARGETING_MATCH", Tier: "free"},
		},
		{
			Story: "Denied: the off variant, and what would allow it.", Flag: "denied", Context: alice,
			Want: ofreptest.Want{Value: false, Variant: "off", Reason: "TARGETING_MATCH", Tier: "free", Denied: true, Upgrade: "pro"},
		},
		{Story: "Disabled: the code default, without an error.", Flag: "disabled", Context: alice, Want: ofreptest.Want{Reason: "DISABLED"}},
		{Story: "No default: the code default, without an error.", Flag: "code", Context: alice, Want: ofreptest.Want{Reason: "DEFAULT"}},
		{Story: "An unknown flag.", Flag: "nope", Context: alice, Want: failed("FLAG_NOT_FOUND")},
		{Story: "A broken flag.", Flag: "broken", Context: alice, Want: failed("PARSE_ERROR")},
		{Story: "A string asked for as a boolean.", Flag: "blue", As: "boolean", Context: alice, Want: failed("TYPE_MISMATCH")},
		{Story: "A boolean asked for as a number.", Flag: "on", As: "number", Context: alice, Want: failed("TYPE_MISMATCH")},
		{Story: "A number asked for as an object.", Flag: "int", As: "object", Context: alice, Want: failed("TYPE_MISMATCH")},
		{Story: "A team that is not a string.", Flag: "on", Context: map[string]any{"targetingKey": "u", "teamId": 7}, Want: failed("INVALID_CONTEXT")},
	})
}
