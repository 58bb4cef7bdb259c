package pmap

import "slices"

const chunkSize = 128

// A List is an immutable list of V by position. The zero List is empty. It is safe for any
// number of goroutines.
type List[V any] struct {
	chunks []*chunk[V]
	n      int
}

type chunk[V any] struct {
	owner *owner
	items [chunkSize]V
}

// Len returns the number of elements.
func (l List[V]) Len() int { return l.n }

// At returns element i, which exists.
func (l List[V]) At(i int) V { return l.chunks[uint(i)/chunkSize].items[uint(i)%chunkSize] }

// Edit begins the next version of l, which stays as it is.
func (l List[V]) Edit() *ListEdit[V] { return &ListEdit[V]{l: l} }

// A ListEdit makes the next version of a List. It is not safe for concurrent use.
type ListEdit[V any] struct {
	l     List[V]
	owner *owner // nil until the spine is ours
}

// Len and At read the list as edited so far.
func (e *ListEdit[V]) Len() int { return e.l.n }

// At returns element i as edited so far.
func (e *ListEdit[V]) At(i int) V { return e.l.At(i) }

// List returns the version as edited so far. Later edits do not change it.
func (e *ListEdit[V]) List() List[V] {
	e.owner = nil
	return e.l
}

// Append adds an element and returns its position.
func (e *ListEdit[V]) Append(v V) int {
	i := e.l.n
	e.ownSpine()
	if i%chunkSize == 0 {
		e.l.chunks = append(e.l.chunks, &chunk[V]{owner: e.owner})
	}
	e.l.n++
	e.Set(i, v)
	return i
}

// Set replaces element i, which exists.
func (e *ListEdit[V]) Set(i int, v V) {
	e.ownSpine()
	c := e.l.chunks[i/chunkSize]
	if c.owner != e.owner {
		c = &chunk[V]{owner: e.owner, items: c.items}
		e.l.chunks[i/chunkSize] = c
	}
	c.items[i%chunkSize] = v
}

func (e *ListEdit[V]) ownSpine() {
	if e.owner == nil {
		e.owner = new(owner)
		e.l.chunks = slices.Clone(e.l.chunks)
	}
}
