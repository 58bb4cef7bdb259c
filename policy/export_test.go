package policy

// Decide is Access without the cache.
func (e *Engine) Decide(in *Input) (Access, error) { return e.decide(in) }

// Misses is how often the cache had no answer.
func (e *Engine) Misses() int64 { return e.misses.Load() }

var Capabilities = capabilities

// Allowed is the allow-list.
func Allowed() []string { return allowed }

// AppendValue is how a value stands in a key.
var AppendValue = appendValue
