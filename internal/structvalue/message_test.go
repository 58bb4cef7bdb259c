package structvalue_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/structvalue"
)

// A flag's value is told after the use of it was taken: whatever a definition may hold becomes a
// message, the deepest variant and the one of the most values.
func TestOfJSON_takes_what_a_flag_may_hold(t *testing.T) {
	nested := func(depth int) string { return strings.Repeat(`{"a":`, depth) + `1` + strings.Repeat(`}`, depth) }
	for name, tc := range map[string]struct {
		variant string
		ok      bool
	}{
		"the deepest":    {nested(tiergate.MaxVariantDepth), true},
		"too deep":       {nested(tiergate.MaxVariantDepth + 1), false},
		"of most values": {`{"":[` + strings.Repeat(`0,`, (tiergate.MaxFlagBytes-8)/2) + `0]}`, true},
		"not UTF-8":      {"{\"a\":\"\xff\"}", false},
	} {
		f := tiergate.Flag{ID: "f", Set: "default", Name: "f", Type: tiergate.Object, Variants: map[string]json.RawMessage{"v": json.RawMessage(tc.variant)}}
		invalid := f.Validate()
		_, untold := structvalue.OfJSON(f.Variants["v"])
		if (invalid == nil) != tc.ok || (untold == nil) != tc.ok {
			t.Errorf("%s: as a definition %v, as a message %v", name, invalid, untold)
		}
	}
}
