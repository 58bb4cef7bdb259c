package evaluator

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"unicode/utf8"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// A documenter writes the document of one set.
type documenter struct {
	g      *Generation
	set    *flagSet
	shared sharedRules
	out    []byte
	doc    tiergate.FlagDocument
}

// document writes all flags of a set, each so that flagd's rules come to what decide comes to.
func (g *Generation) document(set *flagSet) (*tiergate.FlagDocument, error) {
	d := &documenter{g: g, set: set, doc: tiergate.FlagDocument{Set: set.name}}
	d.shared = sharedRulesOf(set, g.mentionsRefs(set))
	d.out = append(d.out, `{"flags":{`...)
	between := ""
	for name, f := range set.order.All() {
		d.out = append(d.out, between...)
		d.out = append(jsonvalue.AppendString(d.out, name), ':')
		d.appendFlag(g.definition(f, g.view.Flag(set.name, name), &d.shared))
		if between = ","; len(d.out) > tiergate.MaxDocumentBytes {
			return nil, tiergate.Errorf(tiergate.Exhausted, "the flags of set %q are more than %d bytes", set.name, tiergate.MaxDocumentBytes)
		}
	}
	d.out = append(d.out, '}')
	if len(d.shared.members) > 0 {
		d.out = append(d.out, `,"$evaluators":{`...)
		d.out = append(append(d.out, d.shared.members...), '}')
	}
	d.appendMetadata()
	d.doc.JSON = string(append(d.out, '}'))
	return &d.doc, nil
}

// appendMetadata appends the set's metadata. Its version, unless it has one of its own, is
// a hash of all the rest: the same flags have the same version wherever they come from.
func (d *documenter) appendMetadata() {
	var shared map[string]any
	if d.set.def != nil {
		shared = d.set.def.Metadata
	}
	own := map[string]any{"flagSetId": d.set.name}
	d.out = append(d.out, `,"metadata":{`...)
	if _, ok := shared["version"]; !ok {
		hash := sha256.Sum256(append(d.out, encodeMetadata(shared, own)...))
		own["version"] = hex.EncodeToString(hash[:8])
	}
	d.out = append(append(d.out, encodeMetadata(shared, own)...), '}')
}

// appendFlag appends one definition, and notes it when it is withheld.
func (d *documenter) appendFlag(def definition) {
	d.doc.Incomplete = d.doc.Incomplete || def.unsure
	if def.withheld != "" {
		d.doc.Withheld = append(d.doc.Withheld, tiergate.WithheldFlag{Name: def.name, Why: def.withheld})
	}
	d.out = def.appendTo(d.out)
}

// appendTo appends the definition as flagd has it.
func (d *definition) appendTo(b []byte) []byte {
	b = append(append(append(b, `{"state":"`...), d.state...), `","variants":{`...)
	for i, v := range d.variants {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(jsonvalue.AppendString(b, v.name), ':')
		b = append(b, textOf(v.value)...)
	}
	b = append(b, '}')
	if d.byDefault.value != nil {
		b = jsonvalue.AppendString(append(b, `,"defaultVariant":`...), d.byDefault.name)
	}
	if d.rule != nil {
		b = append(append(b, `,"targeting":`...), d.rule...)
	}
	if m := d.metadata(); len(m) > 0 {
		b = append(append(append(b, `,"metadata":{`...), m...), '}')
	}
	return append(b, '}')
}

// textOf is JSON that protobuf takes for text.
func textOf(raw json.RawMessage) []byte {
	if utf8.Valid(raw) {
		return raw
	}
	return bytes.ToValidUTF8(raw, []byte("\ufffd"))
}

// metadata returns the flag's own metadata with why it is withheld.
func (d *definition) metadata() json.RawMessage {
	if d.withheld == "" {
		return encodeMetadata(nil, d.own)
	}
	return encodeMetadata(d.own, map[string]any{"withheld": string(d.withheld)})
}

// sortedVariants are a flag's variants in the order of their names.
func (f *flag) sortedVariants() []variant {
	return slices.SortedFunc(slices.Values(f.variants), func(a, b variant) int { return cmp.Compare(a.name, b.name) })
}
