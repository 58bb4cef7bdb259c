package pmap_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate/internal/pmap"
)

// Whatever the edits, a map holds what a plain map holds, and earlier versions stay as they were.
func TestMap_is_a_map(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m pmap.Map[int]
		model := map[string]int{}
		type version struct {
			m     pmap.Map[int]
			model map[string]int
		}
		var old []version
		keys := rapid.SampledFrom([]int{5, 40, 4000}).Draw(t, "keys")
		for range rapid.IntRange(1, 12).Draw(t, "versions") {
			old = append(old, version{m, maps.Clone(model)})
			e := m.Edit()
			for range rapid.IntRange(0, 200).Draw(t, "edits") {
				k := fmt.Sprint("key", rapid.IntRange(0, keys).Draw(t, "key"))
				if rapid.IntRange(0, 2).Draw(t, "op") > 0 {
					v := rapid.Int().Draw(t, "value")
					e.Set(k, v)
					model[k] = v
					continue
				}
				if _, ok := model[k]; e.Delete(k) != ok {
					t.Fatalf("Delete(%q) does not say whether it was there", k)
				}
				delete(model, k)
			}
			m = e.Map()
		}
		for _, v := range append(old, version{m, model}) {
			checkMap(t, v.m, v.model, keys)
		}
	})
}

func checkMap(t *rapid.T, m pmap.Map[int], model map[string]int, keys int) {
	t.Helper()
	if diff := cmp.Diff(model, maps.Collect(m.All())); diff != "" || m.Len() != len(model) {
		t.Fatalf("map of %d mismatch (-want +got):\n%s", m.Len(), diff)
	}
	for i := range keys + 1 {
		k := fmt.Sprint("key", i)
		got, ok := m.Get(k)
		if want, has := model[k]; got != want || ok != has {
			t.Fatalf("Get(%q) = %d, %v, want %d, %v", k, got, ok, want, has)
		}
	}
}

// What an edit does after it gave out a map does not reach that map.
func TestMapEdit_goes_on_apart(t *testing.T) {
	e := pmap.Map[int]{}.Edit()
	e.Set("a", 1)
	m := e.Map()
	e.Set("a", 2)
	e.Set("b", 3)
	if v, _ := m.Get("a"); v != 1 || m.Len() != 1 {
		t.Errorf("the map given out has a = %d and %d keys", v, m.Len())
	}
}

// A list edited in place of a version leaves that version alone.
func TestList_keeps_versions(t *testing.T) {
	e := pmap.List[int]{}.Edit()
	for i := range 1000 {
		e.Append(i)
	}
	first := e.List()
	e.Set(500, -1)
	e.Append(1000)
	second := e.List()
	if first.Len() != 1000 || first.At(500) != 500 || second.Len() != 1001 || second.At(500) != -1 || second.At(1000) != 1000 {
		t.Errorf("lists of %d and %d hold %d and %d at 500", first.Len(), second.Len(), first.At(500), second.At(500))
	}
}

// Whatever the edits, a sorted index yields its keys in order, and old versions stay.
func TestSorted_is_in_order(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model := map[string]int{}
		for i := range rapid.IntRange(0, 1500).Draw(t, "first") {
			model[fmt.Sprintf("%05d", i*3)] = i
		}
		var entries []pmap.Entry[int]
		for _, k := range slices.Sorted(maps.Keys(model)) {
			entries = append(entries, pmap.Entry[int]{Key: k, Value: model[k]})
		}
		s := pmap.SortedOf(entries)
		first, firstModel := s, maps.Clone(model)
		e := s.Edit()
		var second pmap.Sorted[int]
		secondModel := map[string]int{}
		for range rapid.IntRange(0, 300).Draw(t, "edits") {
			k := fmt.Sprintf("%05d", rapid.IntRange(0, 5000).Draw(t, "key"))
			if rapid.Bool().Draw(t, "set") {
				e.Set(k, len(model))
				model[k] = len(model)
			} else {
				e.Delete(k)
				delete(model, k)
			}
			if rapid.IntRange(0, 99).Draw(t, "version") == 0 {
				second, secondModel = e.Sorted(), maps.Clone(model)
			}
		}
		checkSorted(t, e.Sorted(), model)
		checkSorted(t, second, secondModel)
		checkSorted(t, first, firstModel)
	})
}

func checkSorted(t *rapid.T, s pmap.Sorted[int], model map[string]int) {
	t.Helper()
	var keys []string
	for k, v := range s.All() {
		keys = append(keys, k)
		if got, ok := s.Get(k); model[k] != v || got != v || !ok {
			t.Fatalf("%q is %d, or %d, want %d", k, v, got, model[k])
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(model)), keys); diff != "" || s.Len() != len(model) {
		t.Fatalf("sorted of %d mismatch (-want +got):\n%s", s.Len(), diff)
	}
	for i := range 50 {
		k := fmt.Sprintf("%05d", i*100)
		if got, ok := s.Get(k); got != model[k] || ok != slices.Contains(keys, k) {
			t.Fatalf("Get(%q) = %d, %v, want %d", k, got, ok, model[k])
		}
	}
}

// Looking up allocates nothing.
func TestMap_Get_does_not_allocate(t *testing.T) {
	e := pmap.Map[int]{}.Edit()
	for i := range 10000 {
		e.Set(fmt.Sprint("flag-", i), i)
	}
	m := e.Map()
	if n := testing.AllocsPerRun(100, func() { m.Get("flag-77") }); n != 0 {
		t.Errorf("Get allocates %v times", n)
	}
}

func BenchmarkMap_Get(b *testing.B) {
	e := pmap.Map[int]{}.Edit()
	for i := range 100000 {
		e.Set(fmt.Sprint("flag-", i), i)
	}
	m := e.Map()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := m.Get("flag-77777"); !ok {
			b.Fatal("missing")
		}
	}
}
