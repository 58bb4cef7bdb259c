package policy

// Decide is Access without the cache.
func (e *Engine) Decide(in *Input) (Access, error) { return e.decide(in) }
