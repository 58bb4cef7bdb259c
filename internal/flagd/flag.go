package flagd

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tiergate/tiergate"
)

// A definition is one flag as the file has it.
type definition struct {
	set, name      string
	description    string
	state          json.RawMessage
	defaultVariant json.RawMessage
	targeting      json.RawMessage
	metadata       map[string]any
	variants       map[string]json.RawMessage
	fault          error
}

func (f *definition) blame(format string, args ...any) {
	if f.fault == nil {
		f.fault = fmt.Errorf(format, args...)
	}
}

// definition reads one flag; name is "" in the array form, where a member names it.
func (d *document) definition(name string) definition {
	f := definition{name: name}
	if d.peek() != '{' {
		d.skip()
		f.blame("a flag is an object")
		return f
	}
	d.object(func(key []byte) { d.flagMember(&f, key, name == "") })
	if f.name == "" {
		f.blame("a flag has a name")
	}
	return f
}

func (d *document) flagMember(f *definition, key []byte, array bool) {
	switch string(key) {
	case "key":
		if raw := d.value(); array {
			f.name = textOf(raw)
		}
	case "state":
		f.state = d.value()
	case "defaultVariant":
		f.defaultVariant = d.value()
	case "targeting":
		f.targeting = d.value()
	case "variants":
		d.readVariants(f)
	case "description":
		f.description = textOf(d.value())
	case "metadata":
		metadata, err := metadataOf(d.value())
		if err != nil {
			f.blame("%w", err)
		}
		f.metadata = metadata
		if id, ok := metadata["flagSetId"].(string); ok {
			f.set = id
		}
	default:
		d.skip()
	}
}

func (d *document) readVariants(f *definition) {
	if d.peek() != '{' {
		d.skip()
		f.blame("variants are an object")
		return
	}
	f.variants = make(map[string]json.RawMessage, 2)
	d.object(func(key []byte) { f.variants[decoded(key)] = compact(d.value()) })
}

// textOf returns a JSON string's text, "" for any other value.
func textOf(raw json.RawMessage) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	return decoded(raw[1 : len(raw)-1])
}

// flag makes the flag of a definition. Who is on the list gets it: a flag file knows no
// tiers and no percentage.
func (f *definition) flag() (tiergate.Flag, error) {
	flag := tiergate.Flag{
		ID: f.set + "/" + f.name, Set: f.set, Name: f.name, Description: f.description,
		Variants: f.variants, DefaultVariant: textOf(f.defaultVariant), Metadata: f.metadata,
		Rules: tiergate.Rules{Tiers: []string{}, Percentage: 100},
	}
	if f.fault != nil {
		return flag, f.fault
	}
	switch state := textOf(f.state); state {
	case "ENABLED":
		flag.Enabled = true
	case "DISABLED":
	default:
		return flag, fmt.Errorf("state is ENABLED or DISABLED, not %.40q", string(f.state))
	}
	if d := f.defaultVariant; len(d) > 0 && d[0] != '"' && string(d) != "null" {
		return flag, fmt.Errorf("defaultVariant is a string or null, not %.40q", string(d))
	}
	if err := f.setTargeting(&flag); err != nil {
		return flag, err
	}
	for name, value := range f.variants {
		flag.Type = typeOf(value)
		if flag.Type == "" {
			return flag, fmt.Errorf("variant %.80q is not a boolean, string, number or object", name)
		}
		break
	}
	if flag.Type == "" {
		return flag, errors.New("a flag has variants")
	}
	flag.OffVariant = offVariant(&flag)
	return flag, flag.Validate()
}

// setTargeting takes the rule over; null and empty ones are none, as flagd has it.
func (f *definition) setTargeting(flag *tiergate.Flag) error {
	switch raw := f.targeting; {
	case len(raw) == 0 || string(raw) == "null" || string(raw) == `""` || isEmptyObject(raw):
	case raw[0] == '{' || raw[0] == '[' || raw[0] == '"':
		flag.Rules.Targeting = raw
	default:
		return fmt.Errorf("targeting is a rule, not %.40s", raw)
	}
	return nil
}

// typeOf tells the type by the first byte of a value that is known to be JSON.
func typeOf(raw json.RawMessage) tiergate.FlagType {
	switch c := raw[0]; {
	case c == '{':
		return tiergate.Object
	case c == '"':
		return tiergate.String
	case c == 't' || c == 'f':
		return tiergate.Boolean
	case c == '-' || c >= '0' && c <= '9':
		return tiergate.Number
	}
	return ""
}

// offVariant is what a boolean flag serves to who does not get it: "off", else the first
// name whose value is false.
func offVariant(flag *tiergate.Flag) string {
	if flag.Type != tiergate.Boolean {
		return ""
	}
	if _, ok := flag.Variants["off"]; ok {
		return "off"
	}
	off := ""
	for name, value := range flag.Variants {
		if string(value) == "false" && (off == "" || name < off) {
			off = name
		}
	}
	return off
}
