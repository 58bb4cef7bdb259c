package snapshot

import (
	"cmp"
	"encoding/json"
	"iter"
	"slices"

	"github.com/tiergate/tiergate"
)

// Flags are found by set and name through a map of our own: with 100,000 flags a second
// index of go-memdb takes 45 MB more and a quarter of the time to start.

func nameKey(set, name string) string { return set + "\x00" + name }

// applyFlag puts or deletes a flag and keeps the names in step. Two flags may share a name
// in the middle of a revision, when names are exchanged.
func (t *tx) applyFlag(c tiergate.Change) error {
	put, err := thing[tiergate.Flag](c)
	if err != nil {
		return err
	}
	if put != nil {
		c.Put = slim(put)
	}
	return change(t, c, func(old, put *tiergate.Flag) {
		if old != nil {
			t.unname(old)
		}
		if put != nil {
			key := nameKey(put.Set, put.Name)
			same, _ := t.names.Get(key)
			same = append(slices.Clip(same), put)
			slices.SortFunc(same, func(a, b *tiergate.Flag) int { return cmp.Compare(a.ID, b.ID) })
			t.names.Set(key, same)
		}
		for _, f := range []*tiergate.Flag{old, put} {
			if f != nil && !t.delta.Whole {
				t.delta.Flags = append(t.delta.Flags, FlagName{f.Set, f.Name})
			}
		}
	})
}

func (t *tx) unname(f *tiergate.Flag) {
	key := nameKey(f.Set, f.Name)
	same, _ := t.names.Get(key)
	rest := slices.DeleteFunc(slices.Clone(same), func(other *tiergate.Flag) bool { return other.ID == f.ID })
	if len(rest) == 0 {
		t.names.Delete(key)
	} else {
		t.names.Set(key, rest)
	}
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
	same, _ := v.names.Get(nameKey(set, name))
	for _, f := range same {
		if f.Set == set && f.Name == name { // a zero byte in a name could make two keys one
			return f
		}
	}
	return nil
}

// FlagCount returns the number of flags by name.
func (v *View) FlagCount() int { return v.names.Len() }

// Flags yields the flags of a set in the order of their names, one per name. It looks at
// all flags.
func (v *View) Flags(set string) iter.Seq[*tiergate.Flag] {
	return v.sortedFlags(func(f *tiergate.Flag) bool { return f.Set == set })
}

// AllFlags yields all flags in the order of their sets and names, one per name.
func (v *View) AllFlags() iter.Seq[*tiergate.Flag] {
	return v.sortedFlags(func(*tiergate.Flag) bool { return true })
}

func (v *View) sortedFlags(wanted func(*tiergate.Flag) bool) iter.Seq[*tiergate.Flag] {
	return func(yield func(*tiergate.Flag) bool) {
		var flags []*tiergate.Flag
		for _, same := range v.names.All() {
			if wanted(same[0]) {
				flags = append(flags, same[0])
			}
		}
		slices.SortFunc(flags, func(a, b *tiergate.Flag) int {
			return cmp.Or(cmp.Compare(a.Set, b.Set), cmp.Compare(a.Name, b.Name))
		})
		for _, f := range flags {
			if !yield(f) {
				return
			}
		}
	}
}
