package flagdtest

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
)

// A census counts the pairs of a flag and a context in which something occurs, so that a
// generator that has lost an operator, or answers that are all alike, do not pass for a test.
type census map[string]int

// everyOperator is what JsonLogic and flagd define, but for log; see Differences.
var everyOperator = []string{
	"var", "missing", "missing_some",
	"if", "?:", "and", "or", "!", "!!", "==", "!=", "===", "!==", "<", "<=", ">", ">=",
	"+", "-", "*", "/", "%", "max", "min", "cat", "substr",
	"in", "merge", "map", "filter", "reduce", "all", "some", "none",
	"starts_with", "ends_with", "sem_ver", "fractional", "$ref",
}

// least is in how many pairs everything must occur.
var least = func() census {
	c := census{"pairs": 5000, "nested $ref": 40, "reason DISABLED": 40, "reason STATIC": 40}
	for _, op := range everyOperator {
		c["operator "+op] = 100
	}
	for _, kind := range []string{"null", "boolean", "number", "string", "array", "object"} {
		c["constant "+kind], c["attribute "+kind] = 100, 100
	}
	for _, kind := range []string{"boolean", "string", "number", "object"} {
		c["value "+kind] = 500
	}
	for _, reason := range []string{"DEFAULT", "TARGETING_MATCH", "ERROR"} {
		c["reason "+reason] = 100
	}
	return c
}()

// add counts one pair and what flagd-core answered.
func (c census) add(f *flag, q Question, answer Answer) {
	seen := map[string]bool{"pairs": true, "reason " + answer.Reason: true}
	for op := range f.used {
		if op == nested {
			seen["nested $ref"] = true
			continue
		}
		seen["operator "+op] = true
	}
	constants(f.body["targeting"], seen)
	var attributes map[string]any
	if json.Unmarshal(q.Context, &attributes) == nil {
		for _, v := range attributes {
			seen["attribute "+kindOf(v)] = true
		}
	}
	if answer.Value != nil {
		var value any
		_ = json.Unmarshal(answer.Value, &value) // which an encoder made
		seen["value "+kindOf(value)] = true
	}
	for what := range seen {
		c[what]++
	}
}

// check fails for all that occurs too seldom.
func (c census) check(t *testing.T) {
	for _, what := range slices.Sorted(maps.Keys(least)) {
		if c[what] < least[what] {
			t.Errorf("%s: %d pairs, want at least %d", what, c[what], least[what])
		}
	}
}

// constants notes the kinds of the constants in a rule.
func constants(rule any, seen map[string]bool) {
	switch rule := rule.(type) {
	case array:
		seen["constant array"] = true
		for _, v := range rule {
			constants(v, seen)
		}
	case object:
		if len(rule) == 0 {
			seen["constant object"] = true
		}
		for _, v := range rule {
			if list, ok := v.(array); ok {
				for _, v := range list {
					constants(v, seen)
				}
				continue
			}
			constants(v, seen)
		}
	default:
		seen["constant "+kindOf(rule)] = true
	}
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case float64, json.Number:
		return "number"
	case string:
		return "string"
	case array:
		return "array"
	}
	return "object"
}
