package evaluator

import (
	"cmp"
	"sync"
	"time"
	"weak"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/policy"
)

// exports are the documents of the sets that somebody asked for. The zero value has none.
type exports struct {
	mu   sync.Mutex
	sets map[string]*export
}

// An export is the document of one set, and what it was made of. It keeps none of them in memory:
// those who follow the set have its document.
type export struct {
	mu     sync.Mutex // held while the document is made, which all who want it wait for
	set    weak.Pointer[flagSet]
	policy weak.Pointer[policy.Engine]
	made   time.Time
	doc    weak.Pointer[tiergate.FlagDocument]
	err    error
}

// patience is how old an incomplete document may grow.
const patience = time.Second

// Export returns the flags of a set in force as a flag definition document of flagd.
func (e *Engine) Export(set string) (*tiergate.FlagDocument, error) {
	set = cmp.Or(set, tiergate.DefaultSet)
	g := e.current.Load()
	if g == nil {
		return nil, tiergate.Errorf(tiergate.Unavailable, "the flags have not been loaded yet")
	}
	if _, ok := g.sets.Get(set); !ok {
		e.exports.forget(set)
		return g.document(&flagSet{name: set})
	}
	x := e.exports.of(set)
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.of(e.current.Load(), set)
}

func (x *exports) of(set string) *export {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sets == nil {
		x.sets = map[string]*export{}
	}
	if x.sets[set] == nil {
		x.sets[set] = &export{}
	}
	return x.sets[set]
}

func (x *exports) forget(set string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.sets, set)
}

// of returns the document of a generation, making it when something about the set is
// different. A new one that says the same as the one before is that one.
func (x *export) of(g *Generation, name string) (*tiergate.FlagDocument, error) {
	set, ok := g.sets.Get(name)
	if !ok { // it has gone just now
		return g.document(&flagSet{name: name})
	}
	of, under, before := weak.Make(set), weak.Make(g.policy), x.doc.Value()
	if x.set == of && x.policy == under {
		incomplete := before != nil && before.Incomplete && time.Since(x.made) >= patience
		if x.err != nil || before != nil && !incomplete {
			return before, x.err
		}
	}
	doc, err := g.document(set)
	if err == nil && before != nil && doc.JSON == before.JSON && doc.Incomplete == before.Incomplete {
		doc = before
	}
	x.set, x.policy, x.made, x.doc, x.err = of, under, time.Now(), weak.Make(doc), err
	return doc, err
}
