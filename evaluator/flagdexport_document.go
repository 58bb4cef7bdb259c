package evaluator

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

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
			break // it is too large already
		}
	}
	d.out = append(d.out, '}')
	if len(d.shared.members) > 0 {
		d.out = append(d.out, `,"$evaluators":{`...)
		d.out = append(append(d.out, d.shared.members...), '}')
	}
	d.appendMetadata()
	if len(d.out) >= tiergate.MaxDocumentBytes {
		return nil, tiergate.Errorf(tiergate.Exhausted, "the flags of set %q are more than %d bytes", set.name, tiergate.MaxDocumentBytes)
	}
	d.doc.JSON = string(append(d.out, '}'))
	return &d.doc, nil
}

// appendMetadata appends the set's metadata.
func (d *documenter) appendMetadata() {
	d.out = append(d.out, `,"metadata":{`...)
	d.out = append(append(d.out, encodeMetadata(d.metadata(), map[string]any{"flagSetId": d.set.name})...), '}')
}

// metadata is the set's own, nil for none.
func (d *documenter) metadata() map[string]any {
	if d.set.def == nil {
		return nil
	}
	return d.set.def.Metadata
}

// appendFlag appends one definition, and notes it when it is withheld.
func (d *documenter) appendFlag(def definition) {
	d.doc.Incomplete = d.doc.Incomplete || def.unsure
	if def.withheld != "" {
		d.doc.Withheld = append(d.doc.Withheld, tiergate.WithheldFlag{Name: def.name, Why: def.withheld})
	}
	start := len(d.out)
	d.out = def.appendTo(d.out)
	if m := d.metadataOf(&def, d.out[start:]); len(m) > 0 {
		d.out = append(append(append(d.out, `,"metadata":{`...), m...), '}')
	}
	d.out = append(d.out, '}')
}

// metadataOf returns a flag's own metadata with why it is withheld, and with a version: a hash of
// its definition and of the shared rules that it names, so that the same flag has the same version
// wherever it comes from. A version of the whole set would make clients take each change for one
// of all flags, since they put the set's metadata into each. One's own version is not replaced.
func (d *documenter) metadataOf(def *definition, text []byte) json.RawMessage {
	more := map[string]any{}
	if def.withheld != "" {
		more["withheld"] = string(def.withheld)
	}
	_, flags := def.own["version"]
	if _, sets := d.metadata()["version"]; !flags && !sets {
		h := sha256.New()
		h.Write(text)
		h.Write(encodeMetadata(def.own, more))
		for text := range d.shared.namedIn(def.rule) {
			h.Write(text)
		}
		more["version"] = hex.EncodeToString(h.Sum(nil)[:versionBytes])
	}
	return encodeMetadata(def.own, more)
}

// versionBytes is how much of its hash tells a version of a flag from the others.
const versionBytes = 6

// appendTo appends the definition as flagd has it, without metadata and its last brace.
func (d *definition) appendTo(b []byte) []byte {
	b = append(append(append(b, `{"state":"`...), d.state...), `","variants":{`...)
	for i, v := range d.variants {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(jsonvalue.AppendString(b, v.name), ':')
		b = append(b, v.value...)
	}
	b = append(b, '}')
	if d.byDefault.value != nil {
		b = jsonvalue.AppendString(append(b, `,"defaultVariant":`...), d.byDefault.name)
	}
	if d.rule != nil {
		b = append(append(b, `,"targeting":`...), d.rule...)
	}
	return b
}

// sortedVariants are a flag's variants in the order of their names.
func (f *flag) sortedVariants() []variant {
	return slices.SortedFunc(slices.Values(f.variants), func(a, b variant) int { return cmp.Compare(a.name, b.name) })
}
