package flagdapi

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tiergate/tiergate"
)

// The bounds of what is named when every flag of a set may be different. What is beyond ends
// streams instead.
const (
	maxNamed = 4096 // flags, in one set and in one message
	maxSets  = 32
)

// known knows the names of the flags that clients may keep answers about, so that all can be
// named when a revision leaves none as it was, and those that it deletes, too. Safe for
// concurrent use.
type known struct {
	watcher tiergate.Watcher
	asked   atomic.Pointer[[]string] // the sets that callers without a choice of their own ask about; in order

	mu    sync.Mutex
	at    tiergate.Resume            // the state that names are of
	names map[string]map[string]bool // by set, false: deleted; nil for a set of too many
	last  told                       // what the last stream was told: the next is mostly told the same
}

type told struct {
	from tiergate.Resume
	sets []string
	changes
}

// changes are what a stream is to tell.
type changes struct {
	to       tiergate.Resume
	more     <-chan struct{}  // closed when there are others
	flags    *structpb.Struct // by name; nil for none; shared, so that nobody may change it
	subjects bool
	keys     bool
	many     bool // more than can be told
}

// chosen remembers that a caller has selected a set, since the stream of the same client may
// not say so.
func (k *known) chosen(set string, gen tiergate.Generation, key *tiergate.Key) {
	if set == tiergate.DefaultSet || key != nil && len(key.Sets) > 0 || slices.Contains(k.sets(nil), set) || !gen.HasSet(set) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	all := k.sets(nil)
	if slices.Contains(all, set) || len(all) > maxSets {
		return
	}
	all = append(slices.Clone(all), strings.Clone(set))
	slices.Sort(all)
	k.asked.Store(&all)
	if k.names != nil { // else the first stream will look
		k.list(set)
	}
}

var onlyDefault = []string{tiergate.DefaultSet}

// sets returns the sets that a stream tells of.
func (k *known) sets(chosen []string) []string {
	if chosen != nil {
		return chosen
	}
	if all := k.asked.Load(); all != nil {
		return *all
	}
	return onlyDefault
}

// begin returns the state in force, zero before the first, and what is closed when there is
// another.
func (k *known) begin(chosen []string) (tiergate.Resume, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	sets := k.sets(chosen)
	d, more := k.watcher.Since(tiergate.Resume{}, everyone(sets[0]))
	if d.To != (tiergate.Resume{}) {
		k.advance(d.To)
		for _, set := range sets {
			k.list(set)
		}
	}
	return d.To, more
}

func everyone(set string) tiergate.Audience { return tiergate.Audience{Set: set, Everyone: true} }

// since returns what is different between a state and the one in force.
func (k *known) since(from tiergate.Resume, chosen []string) changes {
	k.mu.Lock()
	defer k.mu.Unlock()
	sets := k.sets(chosen)
	first, more := k.watcher.Since(from, everyone(sets[0]))
	if k.last.from == from && k.last.to == first.To && slices.Equal(k.last.sets, sets) {
		same := k.last.changes
		same.more = more
		return same
	}
	k.advance(first.To)
	c := changes{to: first.To, more: more}
	flags := map[string]*structpb.Value{}
	for i, set := range sets {
		d := first
		if i > 0 {
			d, _ = k.watcher.Since(from, everyone(set)) // it may be of a later state, and then tells more
		}
		k.add(&c, flags, set, d)
	}
	if len(flags) > maxNamed {
		c.many = true
	} else if len(flags) > 0 {
		c.flags = flagsOf(flags)
	}
	k.last = told{from, sets, c}
	return c
}

// add adds the difference of one set.
func (k *known) add(c *changes, flags map[string]*structpb.Value, set string, d tiergate.Difference) {
	c.subjects, c.keys = c.subjects || d.Subject || d.All, c.keys || d.Keys
	for _, f := range d.Flags {
		flags[f.Name] = kinds[f.Kind]
	}
	if !d.All {
		return
	}
	names := k.names[set]
	c.many = c.many || names == nil
	for name, there := range names {
		kind := tiergate.FlagUpdated
		if !there {
			kind = tiergate.FlagDeleted
		}
		flags[name] = kinds[kind]
	}
}

// advance makes the names those of the state in force.
func (k *known) advance(to tiergate.Resume) {
	if k.at == to {
		return
	}
	for set, names := range k.names {
		d, _ := k.watcher.Since(k.at, everyone(set))
		if d.All || names == nil && len(d.Flags) > 0 {
			k.look(set)
			continue
		}
		for _, f := range d.Flags {
			names[f.Name] = f.Kind != tiergate.FlagDeleted
		}
		k.shrink(set)
	}
	k.at = to
}

// list begins to know a set's names.
func (k *known) list(set string) {
	if k.names == nil {
		k.names = map[string]map[string]bool{}
	}
	if _, listed := k.names[set]; !listed && len(k.names) <= maxSets {
		k.look(set)
	}
}

// look looks which flags a set has. Those that it had are known as deleted: a client that was
// not told of that may keep an answer about them.
func (k *known) look(set string) {
	before, now := k.names[set], map[string]bool{}
	k.names[set] = nil
	gen := k.watcher.Generation()
	if gen == nil {
		return
	}
	for d := range gen.All(&tiergate.Request{Set: set}) {
		if now[strings.Clone(d.Flag)] = true; len(now) > maxNamed {
			return
		}
	}
	for name := range before {
		if !now[name] {
			now[name] = false
		}
	}
	k.names[set] = now
	k.shrink(set)
}

// shrink forgets what is deleted when there is more than may be named.
func (k *known) shrink(set string) {
	if len(k.names[set]) <= maxNamed {
		return
	}
	maps.DeleteFunc(k.names[set], func(_ string, there bool) bool { return !there })
	if len(k.names[set]) > maxNamed {
		k.names[set] = nil
	}
}

// The parts of messages, shared by all.
var (
	kinds = map[tiergate.FlagChangeKind]*structpb.Value{
		tiergate.FlagWritten: kindOf(tiergate.FlagWritten),
		tiergate.FlagUpdated: kindOf(tiergate.FlagUpdated),
		tiergate.FlagDeleted: kindOf(tiergate.FlagDeleted),
	}
	noFlags = flagsOf(map[string]*structpb.Value{})
)

func kindOf(kind tiergate.FlagChangeKind) *structpb.Value {
	return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"type": structpb.NewStringValue(string(kind))}})
}

func flagsOf(flags map[string]*structpb.Value) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{"flags": structpb.NewStructValue(&structpb.Struct{Fields: flags})}}
}
