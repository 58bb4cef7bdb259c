package pmap

import (
	"cmp"
	"iter"
	"slices"
)

const runMax = 256

// A Sorted is an immutable index from strings to V in the order of the strings. Its zero
// value is empty. A change copies one run of at most 256 entries and the list of runs. It
// is safe for any number of goroutines.
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

// Set returns the index with key's value put.
func (s Sorted[V]) Set(key string, value V) Sorted[V] {
	e := Entry[V]{Key: key, Value: value}
	if s.n == 0 {
		return SortedOf([]Entry[V]{e})
	}
	run, at, found := s.find(key)
	next := Sorted[V]{n: s.n, runs: slices.Clone(s.runs)}
	if found {
		next.runs[run] = slices.Clone(s.runs[run])
		next.runs[run][at] = e
		return next
	}
	next.n++
	grown := make([]Entry[V], 0, len(s.runs[run])+1)
	grown = append(append(append(grown, s.runs[run][:at]...), e), s.runs[run][at:]...)
	if len(grown) <= runMax {
		next.runs[run] = grown
		return next
	}
	half := len(grown) / 2
	next.runs = slices.Replace(next.runs, run, run+1, grown[:half:half], grown[half:])
	return next
}

// Delete returns the index without key.
func (s Sorted[V]) Delete(key string) Sorted[V] {
	if s.n == 0 {
		return s
	}
	run, at, found := s.find(key)
	if !found {
		return s
	}
	next := Sorted[V]{n: s.n - 1, runs: slices.Clone(s.runs)}
	if len(s.runs[run]) == 1 {
		next.runs = slices.Delete(next.runs, run, run+1)
		return next
	}
	next.runs[run] = slices.Delete(slices.Clone(s.runs[run]), at, at+1)
	return next
}
