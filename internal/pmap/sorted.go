package pmap

import (
	"cmp"
	"iter"
	"slices"
)

const runMax = 256

// A Sorted is an immutable index from strings to V in the order of the strings. Its zero
// value is empty. An edit copies the list of runs once and each run of at most 256 entries
// that it changes. It is safe for any number of goroutines.
type Sorted[V any] struct {
	runs [][]Entry[V] // none empty
	n    int
}

// An Entry is one key and its value.
type Entry[V any] struct {
	Key   string
	Value V
}

// SortedOf makes the index of entries, which are in the order of their keys, without
// equal ones; it keeps the slice.
func SortedOf[V any](entries []Entry[V]) Sorted[V] {
	s := Sorted[V]{n: len(entries), runs: make([][]Entry[V], 0, len(entries)/(runMax/2)+1)}
	for run := range slices.Chunk(entries, runMax*3/4) { // room for new ones
		s.runs = append(s.runs, run)
	}
	return s
}

// Len returns the number of entries.
func (s Sorted[V]) Len() int { return s.n }

// All yields the entries in the order of their keys.
func (s Sorted[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, run := range s.runs {
			for i := range run {
				if !yield(run[i].Key, run[i].Value) {
					return
				}
			}
		}
	}
}

// find returns the run that holds key, or would, and the place in it.
func (s Sorted[V]) find(key string) (run, at int, found bool) {
	run, _ = slices.BinarySearchFunc(s.runs, key, func(r []Entry[V], key string) int {
		return cmp.Compare(r[len(r)-1].Key, key)
	})
	if run == len(s.runs) {
		if run == 0 {
			return 0, 0, false
		}
		run--
	}
	at, found = slices.BinarySearchFunc(s.runs[run], key, func(e Entry[V], key string) int {
		return cmp.Compare(e.Key, key)
	})
	return run, at, found
}

// Get returns the value of key and whether there is one, by binary search. It does not
// allocate.
func (s Sorted[V]) Get(key string) (V, bool) {
	if s.n > 0 {
		if run, at, found := s.find(key); found {
			return s.runs[run][at].Value, true
		}
	}
	var none V
	return none, false
}

// Edit begins the next version of s, which stays as it is.
func (s Sorted[V]) Edit() *SortedEdit[V] { return &SortedEdit[V]{s: s} }

// A SortedEdit makes the next version of a Sorted. It is not safe for concurrent use.
type SortedEdit[V any] struct {
	s    Sorted[V]
	ours []bool // by run: whether it may be changed in place; nil until the list of runs is ours
}

// Get returns the value of key as edited so far.
func (e *SortedEdit[V]) Get(key string) (V, bool) { return e.s.Get(key) }

// Sorted returns the version as edited so far. Later edits do not change it.
func (e *SortedEdit[V]) Sorted() Sorted[V] {
	e.ours = nil
	return e.s
}

// Set puts the value of key.
func (e *SortedEdit[V]) Set(key string, value V) {
	e.ownSpine()
	entry := Entry[V]{Key: key, Value: value}
	if e.s.n == 0 {
		e.s.runs, e.ours, e.s.n = [][]Entry[V]{{entry}}, []bool{true}, 1
		return
	}
	run, at, found := e.s.find(key)
	e.own(run)
	if found {
		e.s.runs[run][at] = entry
		return
	}
	e.s.n++
	grown := slices.Insert(e.s.runs[run], at, entry)
	e.s.runs[run] = grown
	if len(grown) > runMax {
		half := len(grown) / 2
		e.s.runs = slices.Replace(e.s.runs, run, run+1, grown[:half:half], grown[half:])
		e.ours = slices.Insert(e.ours, run, true)
	}
}

// Delete removes key, if it is there.
func (e *SortedEdit[V]) Delete(key string) {
	if _, ok := e.s.Get(key); !ok {
		return
	}
	e.ownSpine()
	run, at, _ := e.s.find(key)
	e.s.n--
	if len(e.s.runs[run]) == 1 {
		e.s.runs = slices.Delete(e.s.runs, run, run+1)
		e.ours = slices.Delete(e.ours, run, run+1)
		return
	}
	e.own(run)
	e.s.runs[run] = slices.Delete(e.s.runs[run], at, at+1)
}

func (e *SortedEdit[V]) ownSpine() {
	if e.ours == nil {
		e.s.runs = slices.Clone(e.s.runs)
		e.ours = make([]bool, len(e.s.runs))
	}
}

func (e *SortedEdit[V]) own(run int) {
	if !e.ours[run] {
		e.s.runs[run] = append(make([]Entry[V], 0, len(e.s.runs[run])+1), e.s.runs[run]...)
		e.ours[run] = true
	}
}
