package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tiergate/tiergate"
)

// checkResults refuses targeting in which a variant is written down that the flag does not
// have: whoever came there would get an error. What is computed shows only then.
func checkResults(f *tiergate.Flag) error {
	var rule any
	if len(f.Rules.Targeting) == 0 || json.Unmarshal(f.Rules.Targeting, &rule) != nil {
		return nil
	}
	for place, name := range constantResults("rules.targeting", rule) {
		if _, ok := f.Variants[name]; !ok && !impliedVariant(f, name) {
			known := slices.Sorted(maps.Keys(f.Variants))
			more := ""
			if n := len(known) - maxFaults; n > 0 {
				known, more = known[:maxFaults], fmt.Sprintf(" and %d more", n)
			}
			return tiergate.FieldErrorf(place, "targeting names the variant %q, which the flag does not have: it has %s%s", name, strings.Join(known, ", "), more)
		}
	}
	return nil
}

// impliedVariant reports whether a boolean flag has a variant without being told.
func impliedVariant(f *tiergate.Flag, name string) bool {
	return f.Type == tiergate.Boolean && len(f.Variants) < 2 && (name == "on" || name == "off")
}

// constantResults yields the variants that a rule yields as they are written, with their
// places, which are written as huma writes places.
func constantResults(place string, rule any) func(yield func(place, name string) bool) {
	return func(yield func(string, string) bool) { walkResults(place, rule, yield) }
}

func walkResults(place string, rule any, yield func(string, string) bool) bool {
	switch r := rule.(type) {
	case string:
		return yield(place, r)
	case bool:
		return yield(place, strconv.FormatBool(r))
	case float64:
		if r == math.Trunc(r) && math.Abs(r) < 1<<53 { // which JavaScript prints as we do
			return yield(place, strconv.FormatInt(int64(r), 10))
		}
	case map[string]any:
		for name, arguments := range r { // one: the rule compiles
			if list, ok := arguments.([]any); ok {
				return walkArguments(place+"."+name, name, list, yield)
			}
		}
	}
	return true
}

func walkArguments(place, operator string, arguments []any, yield func(string, string) bool) bool {
	for i, argument := range arguments {
		at := place + "[" + strconv.Itoa(i) + "]"
		switch operator {
		case "if", "?:": // condition, result, condition, result, …, result
			if i%2 == 0 && i < len(arguments)-1 {
				continue
			}
		case "fractional": // [variant, weight], …, after the key if there is one
			entry, ok := argument.([]any)
			if !ok || len(entry) == 0 {
				continue
			}
			at, argument = at+"[0]", entry[0]
		default:
			return true
		}
		if !walkResults(at, argument, yield) {
			return false
		}
	}
	return true
}
