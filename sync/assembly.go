package syncer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/flagd"
)

// A thingID names a thing of a state.
type thingID struct {
	kind tiergate.Kind
	key  string
}

// A state is all things that a folder describes. Its things are immutable.
type state map[thingID]any

// since returns the changes that make s of before, in the order of kinds and keys. What is the same
// in both s has from before afterwards, and what is not is its own: a file that changes often is not
// kept in as many versions as it has flags.
func (s state) since(before state) []tiergate.Change {
	var changes []tiergate.Change
	var c comparer
	for id, thing := range s {
		old, ok := before[id]
		if ok && c.same(old, thing) {
			s[id] = old
			continue
		}
		if len(before) > 0 {
			thing = flagd.Own(thing)
			s[id] = thing
		}
		changes = append(changes, tiergate.Change{Kind: id.kind, Key: id.key, Put: thing})
	}
	for id := range before {
		if _, ok := s[id]; !ok {
			changes = append(changes, tiergate.Change{Kind: id.kind, Key: id.key})
		}
	}
	slices.SortFunc(changes, func(a, b tiergate.Change) int {
		return cmp.Or(cmp.Compare(kindCodes[a.Kind], kindCodes[b.Kind]), cmp.Compare(a.Key, b.Key))
	})
	return changes
}

// A comparer compares things by their records, and keeps the memory of these.
type comparer struct{ a, b []byte }

// same reports whether two things of one kind are equal.
func (c *comparer) same(a, b any) bool {
	if a == b {
		return true
	}
	var err1, err2 error
	c.a, err1 = appendRecord(c.a[:0], a)
	c.b, err2 = appendRecord(c.b[:0], b)
	return err1 == nil && err2 == nil && bytes.Equal(c.a, c.b)
}

// An assembly is a state that is being put together from files.
type assembly struct {
	state    state
	from     map[thingID]string // the file of each thing
	sets     map[string]*tiergate.FlagSet
	problems []string

	// What has no good content, so that nobody here knows what it said before: "" for
	// nothing, and the first such problem. Without flags others can still be decided.
	lostFlags, lostRules string
}

// lost remembers a problem of a file that was never good.
func (a *assembly) lost(rules bool, problem string) {
	if rules {
		a.lostRules = cmp.Or(a.lostRules, problem)
	} else {
		a.lostFlags = cmp.Or(a.lostFlags, problem)
	}
	a.problems = append(a.problems, problem)
}

func (a *assembly) problem(format string, args ...any) {
	a.problems = append(a.problems, fmt.Sprintf(format, args...))
}

// put takes a thing of a file. Of two that are the same the later by name wins.
func (a *assembly) put(name string, thing any) {
	kind, key := tiergate.KeyOf(thing)
	id := thingID{kind, key}
	if earlier, ok := a.from[id]; ok {
		a.problem("%s: %s %q is also in %s; this one is in force", name, kind, key, earlier)
	}
	a.state[id] = thing
	if name != "" {
		a.from[id] = name
	}
}

func (a *assembly) addFlags(name string, f *flagd.File) {
	for _, p := range f.Problems {
		a.problem("%s: %s", name, p)
		if p.Flag != "" && len(p.Flag) <= tiergate.MaxNameLength { // it is not served, but it is there
			a.put(name, &tiergate.Flag{ID: p.Set + "/" + p.Flag, Set: p.Set, Name: p.Flag, Enabled: true, Fault: p.Message})
		}
	}
	for i := range f.Flags {
		a.put(name, &f.Flags[i])
	}
	for i := range f.Sets {
		a.mergeSet(name, &f.Sets[i])
	}
}

// mergeSet puts what files say about one set together: shared rules and metadata of all.
func (a *assembly) mergeSet(name string, s *tiergate.FlagSet) {
	merged := a.sets[s.Name]
	if merged == nil {
		merged = &tiergate.FlagSet{Name: s.Name}
		a.sets[s.Name] = merged
	}
	if s.Fractional != "" {
		merged.Fractional = s.Fractional
	}
	for rule, text := range s.Evaluators {
		if old, ok := merged.Evaluators[rule]; ok && !bytes.Equal(old, text) {
			a.problem("%s: the shared rule %q of set %q is also in another file; this one is in force", name, rule, s.Name)
		}
		if merged.Evaluators == nil {
			merged.Evaluators = map[string]json.RawMessage{}
		}
		merged.Evaluators[rule] = text
	}
	for key, value := range s.Metadata {
		if old, ok := merged.Metadata[key]; ok && !reflect.DeepEqual(old, value) {
			a.problem("%s: metadata %q of set %q is also in another file; this one is in force", name, key, s.Name)
		}
		if merged.Metadata == nil {
			merged.Metadata = map[string]any{}
		}
		merged.Metadata[key] = value
	}
}

func (a *assembly) addSettings(name string, s *settings) {
	for _, list := range [][]any{
		pointers(s.Tiers), pointers(s.Limits), pointers(s.Users), pointers(s.Teams), pointers(s.Members), pointers(s.Keys),
	} {
		for _, thing := range list {
			a.put(name, thing)
		}
	}
}

func pointers[T any](list []T) []any {
	out := make([]any, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// checkTiers names teams and users of a tier that there is not; they are as if on the lowest.
func (a *assembly) checkTiers() {
	unknown := map[string]int{}
	for _, thing := range a.state {
		tier := ""
		switch t := thing.(type) {
		case *tiergate.Team:
			tier = t.Tier
		case *tiergate.User:
			tier = t.Tier
		}
		if _, ok := a.state[thingID{tiergate.KindTier, tier}]; tier != "" && !ok {
			unknown[tier]++
		}
	}
	for _, tier := range slices.Sorted(maps.Keys(unknown)) {
		a.problem("%d teams and users are on the tier %q, which there is not", unknown[tier], tier)
	}
}
