package snapshot

import (
	"cmp"
	"encoding/json"
	"iter"
	"maps"
	"slices"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/pmap"
)

// Flags are not in go-memdb: they have no relations, and 100,000 of them in it take half of
// the time to start and 40 MB. They are found by id, to apply changes, and by set and name.

// A flagIndex holds the flags of each set by name.
type flagIndex = pmap.Map[pmap.Sorted[named]]

// A named is the flag of a name. Two flags may share a name in the middle of a revision,
// when names are exchanged.
type named struct {
	flag *tiergate.Flag   // the one with the lowest id
	more []*tiergate.Flag // the others in the order of their ids; nil as good as always
}

func (n named) with(f *tiergate.Flag) named {
	if n.flag == nil {
		return named{flag: f}
	}
	all := append(slices.Clone(n.more), n.flag, f)
	slices.SortFunc(all, func(a, b *tiergate.Flag) int { return cmp.Compare(a.ID, b.ID) })
	return named{flag: all[0], more: all[1:]}
}

func (n named) without(f *tiergate.Flag) named {
	if n.flag.ID != f.ID {
		return named{flag: n.flag, more: slices.DeleteFunc(slices.Clone(n.more), func(m *tiergate.Flag) bool { return m.ID == f.ID })}
	}
	if len(n.more) == 0 {
		return named{}
	}
	return named{flag: n.more[0], more: n.more[1:]}
}

// applyFlag puts or deletes a flag and keeps the names in step; those of a whole state are
// sorted at its end.
func (t *tx) applyFlag(c tiergate.Change) error {
	put, err := thing[tiergate.Flag](c)
	if err != nil {
		return err
	}
	old, _ := t.flags.Get(c.Key)
	switch {
	case put != nil:
		put = slim(put)
		t.flags.Set(c.Key, put)
	case old == nil:
		return nil
	default:
		t.flags.Delete(c.Key)
	}
	if t.delta.Whole {
		t.arrived, t.again = append(t.arrived, put), t.again || old != nil
		return nil
	}
	if old != nil {
		t.rename(old, named.without)
	}
	if put != nil {
		t.rename(put, named.with)
	}
	return nil
}

// rename changes what the name of f stands for.
func (t *tx) rename(f *tiergate.Flag, how func(named, *tiergate.Flag) named) {
	t.delta.Flags = append(t.delta.Flags, FlagName{f.Set, f.Name})
	set, ok := t.sets[f.Set]
	if !ok {
		sorted, _ := t.from.names.Get(f.Set)
		set = sorted.Edit()
		t.sets[f.Set] = set
	}
	n, _ := set.Get(f.Name)
	if n = how(n, f); n.flag == nil {
		set.Delete(f.Name)
	} else {
		set.Set(f.Name, n)
	}
}

// names returns the flags by name as the revision leaves them.
func (t *tx) names() flagIndex {
	next := t.from.names.Edit()
	if t.delta.Whole {
		t.sortNames(next)
	}
	for name, set := range t.sets {
		if s := set.Sorted(); s.Len() > 0 {
			next.Set(name, s)
		} else {
			next.Delete(name)
		}
	}
	return next.Map()
}

// sortNames puts the flags of a whole state into next, which is empty. Where they come in
// the order of their names, as State yields them, there is little to sort.
func (t *tx) sortNames(next *pmap.MapEdit[pmap.Sorted[named]]) {
	if t.again { // some came twice, or were deleted again
		t.arrived = t.arrived[:0]
		for _, f := range t.flags.Map().All() {
			t.arrived = append(t.arrived, f)
		}
	}
	slices.SortFunc(t.arrived, byName)
	for len(t.arrived) > 0 {
		set := t.arrived[0].Set
		var entries []pmap.Entry[named]
		n := 0
		for ; n < len(t.arrived) && t.arrived[n].Set == set; n++ {
			f := t.arrived[n]
			if last := len(entries) - 1; last >= 0 && entries[last].Key == f.Name {
				entries[last].Value = entries[last].Value.with(f)
			} else {
				entries = append(entries, pmap.Entry[named]{Key: f.Name, Value: named{flag: f}})
			}
		}
		next.Set(set, pmap.SortedOf(slices.Clip(entries)))
		t.arrived = t.arrived[n:]
	}
}

func byName(a, b *tiergate.Flag) int {
	if a.Set == b.Set {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	}
	return cmp.Compare(a.Set, b.Set)
}

// onOff are the variants of most flags. They share one map: one of their own takes 400
// bytes for each of 100,000 flags.
var onOff = map[string]json.RawMessage{"on": json.RawMessage("true"), "off": json.RawMessage("false")}

func slim(f *tiergate.Flag) *tiergate.Flag {
	if len(f.Variants) != 2 || string(f.Variants["on"]) != "true" || string(f.Variants["off"]) != "false" {
		return f
	}
	c := *f
	c.Variants = onOff
	return &c
}

// Flag returns the flag of a set by its name, nil when there is none. Of several of one
// name, which no source should hold, the one with the lowest id counts.
func (v *View) Flag(set, name string) *tiergate.Flag {
	sorted, _ := v.names.Get(set)
	n, _ := sorted.Get(name)
	return n.flag
}

// FlagCount returns the number of flags.
func (v *View) FlagCount() int { return v.flags.Len() }

// Flags yields the flags of a set in the order of their names, one per name.
func (v *View) Flags(set string) iter.Seq[*tiergate.Flag] {
	return func(yield func(*tiergate.Flag) bool) {
		sorted, _ := v.names.Get(set)
		for _, n := range sorted.All() {
			if !yield(n.flag) {
				return
			}
		}
	}
}

// AllFlags yields all flags in the order of their sets and names, one per name.
func (v *View) AllFlags() iter.Seq[*tiergate.Flag] {
	return func(yield func(*tiergate.Flag) bool) {
		for n := range v.allNames() {
			if !yield(n.flag) {
				return
			}
		}
	}
}

// allNames yields what all names stand for, in the order of sets and names.
func (v *View) allNames() iter.Seq[named] {
	return func(yield func(named) bool) {
		for _, set := range slices.Sorted(maps.Keys(maps.Collect(v.names.All()))) {
			sorted, _ := v.names.Get(set)
			for _, n := range sorted.All() {
				if !yield(n) {
					return
				}
			}
		}
	}
}
