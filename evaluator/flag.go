package evaluator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator/targeting"
	"github.com/tiergate/tiergate/policy"
)

// everyone is the weight of 100 percent.
const everyone = 100_000

// A flag is a compiled flag: all that a decision needs, the values already encoded.
type flag struct {
	name     string
	typ      tiergate.FlagType
	enabled  bool
	static   bool // nothing here depends on caller or time; the policy still may
	timed    bool // the rule reads $flagd.timestamp
	metered  bool // its name has limits
	weight   int64
	feature  *policy.Feature
	rule     *targeting.Rule // nil without targeting
	metadata json.RawMessage

	byDefault *variant // with a nil value: the caller's code default
	off       *variant
	variants  []variant           // of many flags the same
	byName    map[string]*variant // only when there are many

	broken string // why the definition is quarantined; "" when it is not
}

type variant struct {
	name  string
	value json.RawMessage
}

// fewVariants are found faster by looking at each.
const fewVariants = 8

func (f *flag) variant(name string) *variant {
	if f.byName != nil {
		return f.byName[name]
	}
	for i := range f.variants {
		if f.variants[i].name == name {
			return &f.variants[i]
		}
	}
	return nil
}

// compile makes what decides of a definition. A definition that is not valid, or whose
// targeting does not compile, is quarantined: it answers with an error and the others serve.
func compile(def *tiergate.Flag, set *flagSet, metered bool) *flag {
	f := &flag{name: def.Name, typ: def.Type, enabled: def.Enabled, metered: metered, weight: def.Rules.Weight()}
	if err := f.compile(def, set); err != nil {
		return &flag{name: def.Name, typ: def.Type, enabled: def.Enabled, metered: metered, metadata: set.metadata, broken: err.Error()}
	}
	f.static = f.rule == nil && len(def.Rules.Tiers) == 0 && (f.weight == 0 || f.weight == everyone) && !metered
	return f
}

func (f *flag) compile(def *tiergate.Flag, set *flagSet) error {
	def = told(def)
	if err := def.Validate(); err != nil {
		return err
	}
	if err := f.compileVariants(def); err != nil {
		return err
	}
	if def.Rules.Targeting != nil {
		var opts targeting.Options
		if set.def != nil {
			opts = targeting.Options{Evaluators: set.def.Evaluators, Fractional: set.def.Fractional}
		}
		rule, err := targeting.Compile(def.Rules.Targeting, opts)
		if err != nil {
			return fmt.Errorf("targeting: %w", err)
		}
		f.rule, f.timed = rule, rule.Reads().Time
	}
	f.metadata = set.metadata
	if len(def.Metadata) > 0 {
		shared := map[string]any{}
		if set.def != nil {
			shared = set.def.Metadata
		}
		f.metadata = encodeMetadata(shared, def.Metadata)
	}
	f.feature = policy.NewFeature(def.Name, def.Set, def.Type, def.Enabled, def.Rules.Tiers, def.Rules.Percentage, def.Metadata)
	return nil
}

// The values that a boolean flag has without being told.
var onOff = map[string]json.RawMessage{"on": json.RawMessage("true"), "off": json.RawMessage("false")}

var onOffVariants = []variant{{"on", onOff["on"]}, {"off", onOff["off"]}}

func isOnOff(variants map[string]json.RawMessage) bool {
	return len(variants) == 2 && string(variants["on"]) == "true" && string(variants["off"]) == "false"
}

// told completes a boolean flag that names no variants but on and off.
func told(def *tiergate.Flag) *tiergate.Flag {
	if def.Type != tiergate.Boolean || len(def.Variants) >= len(onOff) {
		return def
	}
	for name := range def.Variants {
		if onOff[name] == nil {
			return def
		}
	}
	c := *def
	c.Variants = maps.Clone(onOff)
	maps.Copy(c.Variants, def.Variants)
	if len(def.Variants) == 0 && def.DefaultVariant == "" && def.OffVariant == "" {
		c.DefaultVariant, c.OffVariant = "on", "off"
	}
	return &c
}

func (f *flag) compileVariants(def *tiergate.Flag) error {
	if f.variants = onOffVariants; !isOnOff(def.Variants) {
		f.variants = make([]variant, 0, len(def.Variants))
		for name, value := range def.Variants {
			value, err := compact(value)
			if err != nil {
				return tiergate.FieldErrorf("variants", "variant %q is not JSON", name)
			}
			f.variants = append(f.variants, variant{name, value})
		}
	}
	if len(f.variants) > fewVariants {
		f.byName = make(map[string]*variant, len(f.variants))
		for i := range f.variants {
			f.byName[f.variants[i].name] = &f.variants[i]
		}
	}
	f.byDefault, f.off = f.variantOrNone(def.DefaultVariant), f.variantOrNone(def.OffVariant)
	return nil
}

var noVariant variant

func (f *flag) variantOrNone(name string) *variant {
	if v := f.variant(name); v != nil && name != "" {
		return v
	}
	return &noVariant
}

// compact returns JSON without white space, the same bytes when there was none.
func compact(raw json.RawMessage) (json.RawMessage, error) {
	if !slices.ContainsFunc(raw, func(b byte) bool { return b <= ' ' }) {
		return raw, nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, err
	}
	return bytes.Clone(b.Bytes()), nil
}
