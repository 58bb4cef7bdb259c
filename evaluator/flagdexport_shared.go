package evaluator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator/targeting"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

const (
	maxRuleBytes   = 1 << 20 // of a rule with its shared rules in place
	maxSharedBytes = 4 << 20 // of all that a document names
)

// sharedRules are the shared rules of a set for a document. flagd's libraries put them in
// place of {"$ref": NAME} in the text of a document, each in its own way: one takes $ for a
// pattern, one knows no rules within rules unless they come later, one cuts the outermost
// braces off. Those that all of them put in place alike are named in the document, with
// the rules within them in place; the others we put in place ourselves.
type sharedRules struct {
	texts   map[string]json.RawMessage
	values  map[string]tiergate.Value // parsed when they are needed
	named   map[string][]byte         // those of members
	members []byte                    // of "$evaluators"
	open    []string                  // those that we are inside of
}

// sharedRulesOf names the rules that may be named; none of them where something that is no
// rule looks like a reference.
func sharedRulesOf(set *flagSet, mentioned bool) sharedRules {
	if set.def == nil || len(set.def.Evaluators) == 0 {
		return sharedRules{}
	}
	s := sharedRules{texts: set.def.Evaluators, values: map[string]tiergate.Value{}}
	if mentioned {
		return s
	}
	named := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(s.texts)) {
		if !isPlain(name) || len(s.members) > maxSharedBytes {
			continue
		}
		text, err := s.appendShared(nil, name)
		if err != nil || len(text) <= len("{}") || text[0] != '{' || bytes.ContainsAny(text, `$\`) {
			continue
		}
		if len(s.members) > 0 {
			s.members = append(s.members, ',')
		}
		s.members = append(jsonvalue.AppendString(s.members, name), ':')
		s.members = append(s.members, text...)
		named[name] = text
	}
	s.named = named
	return s
}

// namedIn returns the texts of the shared rules that a rule of the document names.
func (s *sharedRules) namedIn(rule []byte) iter.Seq[[]byte] {
	open := []byte(`{"` + ref + `":"`) // in a string its quotes would be escaped
	return func(yield func([]byte) bool) {
		for {
			_, rest, found := bytes.Cut(rule, open)
			if !found {
				return
			}
			name, after, _ := bytes.Cut(rest, []byte(`"`))
			if rule = after; !yield(s.named[string(name)]) {
				return
			}
		}
	}
}

// isPlain says whether a name means itself in every kind of pattern.
func isPlain(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_'
	}) < 0
}

// mentionsRefs says whether variants or metadata of a set hold what looks like a reference.
func (g *Generation) mentionsRefs(set *flagSet) bool {
	if set.def == nil || len(set.def.Evaluators) == 0 {
		return false
	}
	mentioned := holdsRef(set.def.Metadata)
	for name, f := range set.order.All() {
		for _, v := range f.variants {
			mentioned = mentioned || v.name == ref || f.typ == tiergate.Object && mayHoldRef(v.value)
		}
		mentioned = mentioned || holdsRef(g.view.Flag(set.name, name).Metadata)
	}
	return mentioned
}

const ref = "$ref"

func holdsRef(metadata map[string]any) bool {
	_, ok := metadata[ref]
	return ok
}

// mayHoldRef is quick, and true too where the name could be written with escapes.
func mayHoldRef(text []byte) bool {
	return bytes.Contains(text, []byte(ref)) || bytes.Contains(text, []byte(`\u`))
}

// ruleOf returns the rule that decides about a flag: that the variant is the chosen one, or
// the flag's targeting. It is nil for neither, and otherwise an operation. The error is that
// the rule is too large.
func (s *sharedRules) ruleOf(f *flag, def *tiergate.Flag, chosen string) ([]byte, error) {
	switch {
	case chosen != "":
		return always(jsonvalue.AppendString(nil, chosen)), nil
	case f.rule == nil:
		return nil, nil
	}
	rule, err := s.inPlace(def.Rules.Targeting)
	if err != nil {
		return nil, err
	}
	if rule[0] != '{' || len(rule) == len("{}") {
		rule = always(rule)
	}
	return rule, nil
}

// inPlace returns a rule without white space, with those shared rules in place that are not
// named in the document.
func (s *sharedRules) inPlace(rule json.RawMessage) ([]byte, error) {
	text, err := compact(rule)
	if err != nil || !mayHoldRef(text) {
		return bytes.TrimSpace(text), err
	}
	v, err := parsed(text)
	if err != nil {
		return nil, err
	}
	return s.append(nil, v)
}

func parsed(rule []byte) (tiergate.Value, error) {
	return new(jsonvalue.Parser).ParseWithin(rule, 2*targeting.MaxDepth+jsonvalue.MaxDepth)
}

var errTooLarge = errors.New("the rule is too large")

// append appends a rule.
func (s *sharedRules) append(dst []byte, v tiergate.Value) ([]byte, error) {
	if len(dst) > maxRuleBytes {
		return nil, errTooLarge
	}
	isObject := v.Kind() == tiergate.ObjectValue
	switch {
	case isObject && v.Len() == 1 && v.KeyAt(0) == ref && v.Index(0).Kind() == tiergate.StringValue:
		return s.appendShared(dst, v.Index(0).Text())
	case !isObject && v.Kind() != tiergate.ArrayValue:
		return jsonvalue.Append(dst, v), nil
	}
	brackets := "[]"
	if isObject {
		brackets = "{}"
	}
	dst = append(dst, brackets[0])
	for i := range v.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		if isObject {
			dst = append(jsonvalue.AppendString(dst, v.KeyAt(i)), ':')
		}
		var err error
		if dst, err = s.append(dst, v.Index(i)); err != nil {
			return nil, err
		}
	}
	return append(dst, brackets[1]), nil
}

// appendShared appends a shared rule, or its name when the document has it.
func (s *sharedRules) appendShared(dst []byte, name string) ([]byte, error) {
	if s.named[name] != nil {
		return append(jsonvalue.AppendString(append(dst, `{"$ref":`...), name), '}'), nil
	}
	v, ok := s.values[name]
	if !ok {
		var err error
		if v, err = parsed(s.texts[name]); err != nil {
			return nil, fmt.Errorf("shared rule %.80q: %w", name, err)
		}
		s.values[name] = v
	}
	if slices.Contains(s.open, name) {
		return nil, fmt.Errorf("shared rule %.80q refers to itself", name)
	}
	s.open = append(s.open, name)
	dst, err := s.append(dst, v)
	s.open = s.open[:len(s.open)-1]
	return dst, err
}
