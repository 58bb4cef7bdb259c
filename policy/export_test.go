package policy

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Decide is Access without anything that is remembered.
func (e *Engine) Decide(in *Input) (Access, error) {
	t, err := e.begin(e.whoAsks(in))
	if err != nil {
		return Access{}, err
	}
	defer t.end()
	d := e.draft(&e.decisionShape, in)
	tier, err := e.findTier(t, &d)
	if err != nil {
		return Access{}, err
	}
	return e.decideOn(t, &d, tier)
}

// Misses is how often the cache had no answer.
func (e *Engine) Misses() int64 { return e.misses.Load() }

// Reads says what the answers of Access and of Limits depend on.
func (e *Engine) Reads() []string { return []string{e.accessReads.String(), e.limits.reads.String()} }

var Capabilities = capabilities

// Allowed is the allow-list.
func Allowed() []string { return allowed }

// AppendValue is how a value stands in a key.
var AppendValue = appendValue

// NewRuleCache is the cache of one evaluation, as it begins.
func NewRuleCache() topdown.VirtualCache {
	c := &ruleCache{}
	c.Push()
	c.Put(ast.MustParseRef("data.before"), ast.NullTerm())
	c.reset() // as another evaluation leaves it
	c.Push()
	return c
}
