package pmap

import (
	"hash/maphash"
	"iter"
)

// The shape of a map: sixteen children per node, small leaves at the ends.
const (
	bits    = 4
	width   = 1 << bits
	leafMax = 8
	deepest = 64 / bits // below this no hash bits are left, and a leaf may grow
)

var seed = maphash.MakeSeed()

// A Map is an immutable map from strings to V. The zero Map is empty. Copying it copies
// two words. It is safe for any number of goroutines.
type Map[V any] struct {
	root *node[V]
	n    int
}

// owner marks the nodes that one Edit made and may therefore change in place.
type owner struct{ _ byte }

type node[V any] struct {
	owner *owner
	kids  *[width]*node[V] // nil in a leaf
	items []item[V]        // of a leaf
}

type item[V any] struct {
	hash  uint64
	key   string
	value V
}

// Len returns the number of keys.
func (m Map[V]) Len() int { return m.n }

// Get returns the value of key and whether there is one. It does not allocate.
func (m Map[V]) Get(key string) (V, bool) {
	hash := maphash.String(seed, key)
	n := m.root
	for rest := hash; n != nil; rest >>= bits {
		if n.kids != nil {
			n = n.kids[rest%width]
			continue
		}
		for i := range n.items {
			if n.items[i].hash == hash && n.items[i].key == key {
				return n.items[i].value, true
			}
		}
		break
	}
	var none V
	return none, false
}

// All yields every key and value in no particular order.
func (m Map[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) { m.root.each(yield) }
}

func (n *node[V]) each(yield func(string, V) bool) bool {
	if n == nil {
		return true
	}
	for i := range n.items {
		if !yield(n.items[i].key, n.items[i].value) {
			return false
		}
	}
	if n.kids != nil {
		for _, kid := range n.kids {
			if !kid.each(yield) {
				return false
			}
		}
	}
	return true
}

// Edit begins the next version of m, which stays as it is.
func (m Map[V]) Edit() *MapEdit[V] { return &MapEdit[V]{m: m, owner: new(owner)} }

// A MapEdit makes the next version of a Map. It is not safe for concurrent use.
type MapEdit[V any] struct {
	m     Map[V]
	owner *owner
}

// Get returns the value of key as edited so far.
func (e *MapEdit[V]) Get(key string) (V, bool) { return e.m.Get(key) }

// Map returns the version as edited so far. Later edits do not change it.
func (e *MapEdit[V]) Map() Map[V] {
	e.owner = new(owner)
	return e.m
}

// Set puts the value of key.
func (e *MapEdit[V]) Set(key string, value V) {
	it := item[V]{hash: maphash.String(seed, key), key: key, value: value}
	e.m.root = e.set(e.m.root, it, 0)
}

func (e *MapEdit[V]) set(n *node[V], it item[V], depth int) *node[V] {
	if n == nil {
		e.m.n++
		return &node[V]{owner: e.owner, items: []item[V]{it}}
	}
	n = e.own(n)
	if n.kids != nil {
		kid := &n.kids[(it.hash>>(depth*bits))%width]
		*kid = e.set(*kid, it, depth+1)
		return n
	}
	for i := range n.items {
		if n.items[i].hash == it.hash && n.items[i].key == it.key {
			n.items[i] = it
			return n
		}
	}
	e.m.n++
	n.items = append(n.items, it)
	if len(n.items) > leafMax && depth < deepest {
		e.split(n, depth)
	}
	return n
}

// split turns a full leaf into a node of leaves.
func (e *MapEdit[V]) split(n *node[V], depth int) {
	n.kids = new([width]*node[V])
	for _, it := range n.items {
		kid := &n.kids[(it.hash>>(depth*bits))%width]
		if *kid == nil {
			*kid = &node[V]{owner: e.owner}
		}
		(*kid).items = append((*kid).items, it)
	}
	n.items = nil
}

// own returns n, or a copy of it, that this edit may change.
func (e *MapEdit[V]) own(n *node[V]) *node[V] {
	if n.owner == e.owner {
		return n
	}
	c := &node[V]{owner: e.owner}
	if n.kids != nil {
		kids := *n.kids
		c.kids = &kids
		return c
	}
	c.items = make([]item[V], len(n.items), len(n.items)+1)
	copy(c.items, n.items)
	return c
}

// Delete removes key and reports whether it was there.
func (e *MapEdit[V]) Delete(key string) bool {
	if _, ok := e.m.Get(key); !ok {
		return false
	}
	e.m.n--
	e.m.root = e.remove(e.m.root, maphash.String(seed, key), key, 0)
	return true
}

// remove takes out a key that is there.
func (e *MapEdit[V]) remove(n *node[V], hash uint64, key string, depth int) *node[V] {
	n = e.own(n)
	if n.kids != nil {
		kid := &n.kids[(hash>>(depth*bits))%width]
		*kid = e.remove(*kid, hash, key, depth+1)
		return e.merged(n)
	}
	if len(n.items) == 1 {
		return nil
	}
	for i := range n.items {
		if n.items[i].hash == hash && n.items[i].key == key {
			last := len(n.items) - 1
			n.items[i] = n.items[last]
			n.items[last] = item[V]{}
			n.items = n.items[:last]
			break
		}
	}
	return n
}

// merged turns a node whose leaves hold little back into one leaf, so that a map that
// shrinks gives its memory back.
func (e *MapEdit[V]) merged(n *node[V]) *node[V] {
	total := 0
	for _, kid := range n.kids {
		if kid == nil {
			continue
		}
		if total += len(kid.items); kid.kids != nil || total > leafMax/2 {
			return n
		}
	}
	if total == 0 {
		return nil
	}
	items := make([]item[V], 0, total)
	for _, kid := range n.kids {
		if kid != nil {
			items = append(items, kid.items...)
		}
	}
	return &node[V]{owner: e.owner, items: items}
}
