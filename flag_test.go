package tiergate_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/tiergate/tiergate"
)

func boolFlag() tiergate.Flag {
	return tiergate.Flag{
		ID: "f", Set: "default", Name: "f", Type: tiergate.Boolean,
		Variants:       map[string]json.RawMessage{"on": json.RawMessage("true"), "off": json.RawMessage("false")},
		DefaultVariant: "on", OffVariant: "off",
	}
}

// A flag definition that cannot work is refused, and the error names the field.
func TestFlag_Validate(t *testing.T) {
	for field, breakIt := range map[string]func(*tiergate.Flag){
		"":                 func(*tiergate.Flag) {},
		"name":             func(f *tiergate.Flag) { f.Name = strings.Repeat("x", 257) },
		"set":              func(f *tiergate.Flag) { f.Set = "" },
		"type":             func(f *tiergate.Flag) { f.Type = "array" },
		"variants":         func(f *tiergate.Flag) { f.Variants = nil },
		"variants.on":      func(f *tiergate.Flag) { f.Variants["on"] = json.RawMessage(`"true"`) },
		"variants.odd":     func(f *tiergate.Flag) { f.Variants["odd"] = json.RawMessage(`[1]`) },
		"defaultVariant":   func(f *tiergate.Flag) { f.DefaultVariant = "maybe" },
		"offVariant":       func(f *tiergate.Flag) { f.OffVariant = "maybe" },
		"rules.percentage": func(f *tiergate.Flag) { f.Rules.Percentage = 12.3456 },
		"rules.tiers":      func(f *tiergate.Flag) { f.Rules.Tiers = []string{""} },
		"metadata.x":       func(f *tiergate.Flag) { f.Metadata = map[string]any{"x": []any{}} },
	} {
		f := boolFlag()
		breakIt(&f)
		err := f.Validate()
		if field == "" && err != nil {
			t.Errorf("a good flag is refused: %v", err)
		}
		if e, ok := errors.AsType[*tiergate.Error](err); field != "" && (!ok || e.Field != field || e.Code != tiergate.Invalid) {
			t.Errorf("broken %s: %v", field, err)
		}
	}
}

// Rules that say nothing of a percentage mean everybody; no rules at all mean nobody.
func TestRules_percentage_left_out(t *testing.T) {
	for doc, want := range map[string]float64{`{"tiers":["pro"]}`: 100, `{"percentage":0}`: 0, `{"percentage":12.345}`: 12.345} {
		var r tiergate.Rules
		if err := json.Unmarshal([]byte(doc), &r); err != nil || r.Percentage != want {
			t.Errorf("%s: percentage %v, %v, want %v", doc, r.Percentage, err, want)
		}
	}
	var f tiergate.Flag
	if f.Rules.Percentage != 0 {
		t.Error("a flag without rules has a percentage")
	}
	if w := (tiergate.Rules{Percentage: 12.345}).Weight(); w != 12345 {
		t.Errorf("Weight of 12.345 %% is %d, want 12345", w)
	}
}

// Modules that differ in any byte, or in where one ends and the next begins, have another hash.
func TestModulesHash_tells_modules_apart(t *testing.T) {
	seen := map[string]int{}
	for i, m := range []map[string]string{
		{}, {"a": "b"}, {"ab": ""}, {"": "ab"}, {"a": "", "b": ""}, {"a": "b", "c": "d"}, {"a": "bc", "d": ""},
	} {
		h := tiergate.ModulesHash(m)
		if j, again := seen[h]; again {
			t.Errorf("bundles %d and %d have one hash", i, j)
		}
		seen[h] = i
	}
}

// Names are held against the same alphabet as ever.
func TestFlag_Validate_names(t *testing.T) {
	for name, ok := range map[string]bool{
		"new-dashboard": true, "größe": true, "a/b c": true, "$x": true, "_": true, "日本語.v2": true, "9": true, "a~b@c+d:e": true,
		"": false, "-a": false, " a": false, "a\n": false, "a\x00": false, "a\xff": false, "a\ufffd": false, "a\u00a0b": false, "a=b": false, "💥": false,
	} {
		f := boolFlag()
		f.Name = name
		if err := f.Validate(); (err == nil) != ok {
			t.Errorf("the name %q: %v", name, err)
		}
	}
}

// A variant's JSON text is of its flag's type or refused.
func TestFlag_Validate_types(t *testing.T) {
	for text, want := range map[string]tiergate.FlagType{
		"true": tiergate.Boolean, " false ": tiergate.Boolean, "-1.5e3": tiergate.Number, "\"x\"": tiergate.String, " {\"a\":1}": tiergate.Object,
		"null": "", "[1]": "", "tru": "", "{": "", "01": "", "": "", "true false": "", "\"\xff\"": "", "{\"\xff\":1}": "",
	} {
		for _, typ := range []tiergate.FlagType{tiergate.Boolean, tiergate.String, tiergate.Number, tiergate.Object} {
			f := boolFlag()
			f.Type, f.Variants, f.DefaultVariant, f.OffVariant = typ, map[string]json.RawMessage{"v": json.RawMessage(text)}, "v", ""
			if err := f.Validate(); (err == nil) != (typ == want) {
				t.Errorf("variant %q as %s: %v", text, typ, err)
			}
		}
	}
}

// An object is nested no deeper than every door can tell it; brackets within texts are none.
func TestFlag_Validate_depth(t *testing.T) {
	nested := func(open, inner, end string, depth int) string {
		return strings.Repeat(open, depth) + inner + strings.Repeat(end, depth)
	}
	for name, tc := range map[string]struct {
		value string
		ok    bool
	}{
		"objects":          {nested(`{"a":`, `1`, `}`, tiergate.MaxVariantDepth), true},
		"deeper objects":   {nested(`{"a":`, `1`, `}`, tiergate.MaxVariantDepth+1), false},
		"arrays":           {nested(`{"a":[`, ``, `]}`, tiergate.MaxVariantDepth/2), true},
		"deeper arrays":    {nested(`{"a":[`, `{}`, `]}`, tiergate.MaxVariantDepth/2), false},
		"one beside other": {`{"a":[` + strings.Repeat(`[],`, 1000) + `{}]}`, true},
		"brackets in text": {`{"\"{":"` + strings.Repeat(`[{\"\\`, 1000) + `"}`, true},
	} {
		f := boolFlag()
		f.Type, f.DefaultVariant, f.OffVariant = tiergate.Object, "v", ""
		f.Variants = map[string]json.RawMessage{"v": json.RawMessage(tc.value)}
		err := f.Validate()
		if e, refused := errors.AsType[*tiergate.Error](err); refused == tc.ok || refused && e.Field != "variants.v" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
