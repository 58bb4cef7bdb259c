package targeting

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// Options say what surrounds a rule.
type Options struct {
	// Evaluators are the flag set's shared rules by name, for {"$ref": name}. They may
	// refer to each other, not to themselves.
	Evaluators map[string]json.RawMessage
	// Fractional is the bucketing algorithm: "v2", which "" means too.
	Fractional string
}

// A Rule is a compiled rule. It is immutable and safe for concurrent use.
type Rule struct {
	root  node
	reads Reads
}

// Reads says what the result of a rule may depend on.
type Reads struct {
	Caller bool // an attribute, the user, the tier or the team
	Time   bool // $flagd.timestamp
}

// parsers keeps the memory of parsers: a state has many rules, and they are compiled one
// after the other.
var parsers = sync.Pool{New: func() any { return new(jsonvalue.Parser) }}

// Compile reads a JsonLogic rule. Its errors say where in the rule the fault is, as
// `if[1].fractional: …`; a flag with such a rule is answered with PARSE_ERROR.
func Compile(rule json.RawMessage, opts Options) (*Rule, error) {
	if opts.Fractional != "" && opts.Fractional != "v2" {
		return nil, fmt.Errorf("there is no fractional algorithm %.40q", opts.Fractional)
	}
	p := parsers.Get().(*jsonvalue.Parser)
	defer parsers.Put(p)
	v, err := parse(p, rule)
	if err != nil {
		return nil, err
	}
	r := reader{shared: opts.Evaluators, path: make(path, 0, 16)}
	s, err := r.read(v)
	if err != nil {
		return nil, err
	}
	b := builder{path: r.path[:0]}
	root, err := b.compiled(s)
	if err != nil {
		return nil, err
	}
	return &Rule{root: root, reads: b.reads}, nil
}

// Reads says what the result may depend on.
func (r *Rule) Reads() Reads { return r.reads }

// Eval computes the rule. Null and Undefined mean that the rule does not say: the default
// variant applies; VariantName names the variant for any other result. A number may lack
// its literal text. An error (a wrong operand, too many steps) is GENERAL for this one
// decision. Eval allocates only where an operator builds a value.
func (r *Rule) Eval(s *Scope) (tiergate.Value, error) {
	m := machine{scope: *s, steps: MaxSteps}
	v, ok := m.eval(&r.root)
	if !ok {
		return tiergate.Value{}, m.err
	}
	return v, nil
}

// VariantName names the variant that a result stands for, as JavaScript prints it: true
// is "true", 1.0 is "1", ["a"] is "a". It is false for null and Undefined.
func VariantName(v tiergate.Value) (name string, ok bool) {
	if isNullish(v) {
		return "", false
	}
	return toString(v), true
}
