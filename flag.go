package tiergate

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// DefaultSet is the flag set of everything that names none.
const DefaultSet = "default"

// FlagType is the type of a flag's values.
type FlagType string

// The types of flags.
const (
	Boolean FlagType = "boolean"
	String  FlagType = "string"
	Number  FlagType = "number"
	Object  FlagType = "object"
)

// Bounds of a flag, so that no definition can exhaust a sidecar.
const (
	MaxNameLength   = 256       // bytes of a flag, set, tier, feature or variant name
	MaxVariants     = 256       // variants of one flag
	MaxFlagBytes    = 128 << 10 // bytes of variants, of targeting, of metadata: each
	MaxVariantDepth = 256       // objects and arrays within each other, so that every door can tell a variant
	MaxMetadataKeys = 64
)

// A Flag (feature) is a named switch or value. Its Name is unique within its Set and
// is the OpenFeature key. The zero value is not valid.
type Flag struct {
	ID          string `json:"id"`
	Set         string `json:"set"`
	Name        string `json:"name"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`

	Type    FlagType `json:"type"`
	Enabled bool     `json:"enabled"` // false: reason DISABLED, the caller's code default applies

	// Variants are the values by name, each of the flag's Type.
	Variants map[string]json.RawMessage `json:"variants"`
	// DefaultVariant is served to who gets the flag; "" means the caller's code default.
	DefaultVariant string `json:"defaultVariant"`
	// OffVariant is served to who does not get it; "" means the caller's code default.
	OffVariant string `json:"offVariant"`

	// Fault is what was wrong with the definition where it was read; "" when nothing was. A
	// flag with a fault is quarantined: it answers with an error, and all others serve.
	Fault string `json:"-"`

	Rules    Rules          `json:"rules"`
	Metadata map[string]any `json:"metadata,omitempty"` // string, bool and number values only

	Version   int64     `json:"version,omitempty"` // grows by one with each change; 0 before it is stored
	CreatedAt time.Time `json:"createdAt,omitzero"`
	UpdatedAt time.Time `json:"updatedAt,omitzero"`
}

// Rules say who gets a flag.
type Rules struct {
	// Tiers are the keys of the tiers that are eligible; empty means every tier.
	Tiers []string `json:"tiers"`
	// Percentage is the share of the eligible who get it, 0 to 100 with three
	// decimals. Left out of given rules it means 100; a flag created without rules has 0.
	Percentage float64 `json:"percentage"`
	// Targeting is a JsonLogic rule that yields a variant's name; nil means none.
	Targeting json.RawMessage `json:"targeting,omitempty"`
}

// UnmarshalJSON reads rules, taking a missing percentage for 100.
func (r *Rules) UnmarshalJSON(data []byte) error {
	type plain Rules
	p := plain{Percentage: 100}
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	if string(p.Targeting) == "null" || string(p.Targeting) == "{}" {
		p.Targeting = nil
	}
	if p.Tiers == nil {
		p.Tiers = []string{}
	}
	*r = Rules(p)
	return nil
}

// Weight returns the percentage as thousandths of a percent, 0 to 100,000: the weight
// of "in" against 100,000 − Weight of "out".
func (r Rules) Weight() int64 { return int64(math.Round(r.Percentage * 1000)) }

// FlagSet holds what the flags of one set share.
type FlagSet struct {
	Name string `json:"name"`
	// Fractional is the bucketing algorithm of the set: "v2" (the default).
	Fractional string `json:"fractional,omitempty"`
	// Evaluators are shared targeting rules by name, for {"$ref": name}.
	Evaluators map[string]json.RawMessage `json:"evaluators,omitempty"`
	Metadata   map[string]any             `json:"metadata,omitempty"`
}

// ValidName says what is wrong with a name, of a feature for example; every error is Invalid and
// names the field.
func ValidName(field, name string) error { return validName(field, name) }

func validName(field, name string) error {
	switch {
	case name == "":
		return FieldErrorf(field, "%s is empty", field)
	case len(name) > MaxNameLength:
		return FieldErrorf(field, "%s is longer than %d bytes", field, MaxNameLength)
	case !allowedName(name):
		return FieldErrorf(field, "%s %q has a character that is not allowed", field, name)
	}
	return nil
}

// allowedName reports whether a name has only letters, digits and _ $ and, not in front,
// . : / @ ~ + - and spaces. (A regular expression took a seventh of the start of a sidecar
// with 100,000 flags.)
func allowedName(name string) bool {
	for i, r := range name {
		ascii := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '$'
		if ascii || i > 0 && r < utf8.RuneSelf && strings.IndexByte(".:/ @~+-", byte(r)) >= 0 {
			continue
		}
		if r < utf8.RuneSelf || r == utf8.RuneError || !unicode.IsLetter(r) && !unicode.IsNumber(r) {
			return false
		}
	}
	return true
}

// Validate says what is wrong with the definition; every error is Invalid and names
// the field. It does not compile the targeting: the evaluator does, per flag.
func (f *Flag) Validate() error {
	if f.Fault != "" {
		return Errorf(Invalid, "%s", f.Fault)
	}
	if err := validName("name", f.Name); err != nil {
		return err
	}
	if err := validName("set", f.Set); err != nil {
		return err
	}
	if !slices.Contains([]FlagType{Boolean, String, Number, Object}, f.Type) {
		return FieldErrorf("type", "type %q is none of boolean, string, number, object", f.Type)
	}
	if err := f.validateVariants(); err != nil {
		return err
	}
	if err := f.Rules.validate(); err != nil {
		return err
	}
	return validMetadata(f.Metadata)
}

func (f *Flag) validateVariants() error {
	if len(f.Variants) == 0 || len(f.Variants) > MaxVariants {
		return FieldErrorf("variants", "a flag has 1 to %d variants, not %d", MaxVariants, len(f.Variants))
	}
	size := 0
	for name, value := range f.Variants {
		if len(name) > MaxNameLength {
			return FieldErrorf("variants", "the name of a variant is longer than %d bytes", MaxNameLength)
		}
		if got := typeOfJSON(value); got != f.Type {
			return FieldErrorf("variants."+name, "variant %q is not of type %s", name, f.Type)
		}
		if f.Type == Object && JSONDepth(value) > MaxVariantDepth {
			return FieldErrorf("variants."+name, "variant %q is nested deeper than %d", name, MaxVariantDepth)
		}
		size += len(value)
	}
	if size > MaxFlagBytes {
		return FieldErrorf("variants", "the variants are larger than %d bytes", MaxFlagBytes)
	}
	for field, name := range map[string]string{"defaultVariant": f.DefaultVariant, "offVariant": f.OffVariant} {
		if _, ok := f.Variants[name]; name != "" && !ok {
			return FieldErrorf(field, "%s %q is not among the variants", field, name)
		}
	}
	return nil
}

// typeOfJSON returns the flag type of a JSON value, "" for null, arrays and bad JSON.
func typeOfJSON(value json.RawMessage) FlagType {
	switch string(value) { // most flags there are
	case "true", "false":
		return Boolean
	}
	text := bytes.TrimLeft(value, " \t\r\n")
	if len(text) == 0 || !json.Valid(text) || !utf8.Valid(text) {
		return ""
	}
	switch text[0] {
	case 't', 'f':
		return Boolean
	case '"':
		return String
	case '{':
		return Object
	case '[', 'n':
		return ""
	}
	return Number
}

// JSONDepth is how many objects and arrays of a valid JSON text are within each other at most.
func JSONDepth(text []byte) int {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

func (r Rules) validate() error {
	if !(r.Percentage >= 0 && r.Percentage <= 100) {
		return FieldErrorf("rules.percentage", "percentage %v is not between 0 and 100", r.Percentage)
	}
	if d := r.Percentage*1000 - math.Round(r.Percentage*1000); math.Abs(d) > 1e-6 {
		return FieldErrorf("rules.percentage", "percentage %v has more than three decimals", r.Percentage)
	}
	for _, t := range r.Tiers {
		if err := validName("rules.tiers", t); err != nil {
			return err
		}
	}
	if len(r.Targeting) > MaxFlagBytes {
		return FieldErrorf("rules.targeting", "targeting is larger than %d bytes", MaxFlagBytes)
	}
	return nil
}

func validMetadata(m map[string]any) error {
	if len(m) > MaxMetadataKeys {
		return FieldErrorf("metadata", "metadata has more than %d keys", MaxMetadataKeys)
	}
	for k, v := range m {
		switch v.(type) {
		case string, bool, float64, int, int64, json.Number:
		default:
			return FieldErrorf("metadata."+k, "metadata %q is not a string, boolean or number", k)
		}
	}
	return nil
}
