package policy

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// A ruleCache is what one evaluation knows of the rules that it has evaluated already. It
// answers as OPA's own does, but that one makes a map for each element of each rule's name,
// which is most of what a small policy allocates. Here the first few are a list whose memory
// the next evaluation uses again; those beyond go to OPA's. The zero value needs
// a Push. Not safe for concurrent use.
type ruleCache struct {
	frames []ruleFrame
	known  []ruleAnswer
	names  []*ast.Term // of known: one after the other, each a ruleAnswer's
}

// A ruleFrame is what holds since the last replacement of input or data.
type ruleFrame struct {
	known, names int // where its own begin
	more         topdown.VirtualCache
}

type ruleAnswer struct {
	from, to int       // its name among the names
	value    *ast.Term // nil is undefined
}

const (
	maxListed    = 12   // rules in a frame: of more it is quicker to look them up
	maxKeptNames = 1024 // terms whose memory is used again
)

var _ topdown.VirtualCache = (*ruleCache)(nil)

// reset forgets everything and keeps the memory, unless it is much.
func (c *ruleCache) reset() {
	if cap(c.names) > maxKeptNames {
		*c = ruleCache{}
	}
	clear(c.known[:cap(c.known)])
	clear(c.names[:cap(c.names)])
	clear(c.frames[:cap(c.frames)])
	c.known, c.names, c.frames = c.known[:0], c.names[:0], c.frames[:0]
}

func (c *ruleCache) top() *ruleFrame { return &c.frames[len(c.frames)-1] }

// Push begins an evaluation, or to replace input or data in it: nothing known counts.
func (c *ruleCache) Push() {
	c.frames = append(c.frames, ruleFrame{known: len(c.known), names: len(c.names)})
}

// Pop ends it.
func (c *ruleCache) Pop() {
	f := c.top()
	c.known, c.names = c.known[:f.known], c.names[:f.names]
	*f = ruleFrame{}
	c.frames = c.frames[:len(c.frames)-1]
}

// Get returns what is known of a rule: its answer, or that it is undefined.
func (c *ruleCache) Get(name ast.Ref) (*ast.Term, bool) {
	f := c.top()
	if known := c.find(f, name); known != nil {
		return known.value, known.value == nil
	}
	if f.more != nil {
		return f.more.Get(name)
	}
	return nil, false
}

// Put remembers a rule's answer, nil for undefined, which is final.
func (c *ruleCache) Put(name ast.Ref, value *ast.Term) {
	f := c.top()
	switch known := c.find(f, name); {
	case known != nil && known.value != nil:
		known.value = value
	case known != nil:
	case len(c.known)-f.known < maxListed:
		from := len(c.names)
		c.names = append(c.names, name...) // a copy: the evaluator writes over its own
		c.known = append(c.known, ruleAnswer{from, len(c.names), value})
	default:
		if f.more == nil {
			f.more = topdown.NewVirtualCache()
		}
		f.more.Put(name, value)
	}
}

// Keys lists the rules that have an answer.
func (c *ruleCache) Keys() []ast.Ref {
	var out []ast.Ref
	f := c.top()
	for _, known := range c.known[f.known:] {
		if known.value != nil {
			out = append(out, c.names[known.from:known.to:known.to])
		}
	}
	if f.more != nil {
		out = append(out, f.more.Keys()...)
	}
	return out
}

func (c *ruleCache) find(f *ruleFrame, name ast.Ref) *ruleAnswer {
	for i := f.known; i < len(c.known); i++ {
		if known := &c.known[i]; known.to-known.from == len(name) && sameName(c.names[known.from:known.to], name) {
			return known
		}
	}
	return nil
}

// sameName compares from the end, where names differ. Terms are the same as in OPA's
// cache: those that are equal and have one hash.
func sameName(a, b []*ast.Term) bool {
	for i, term := range slices.Backward(a) {
		if term == b[i] {
			continue
		}
		if text, ok := term.Value.(ast.String); ok {
			if other, ok := b[i].Value.(ast.String); !ok || text != other {
				return false
			}
			continue
		}
		if term.Hash() != b[i].Hash() || !term.Equal(b[i]) {
			return false
		}
	}
	return true
}
