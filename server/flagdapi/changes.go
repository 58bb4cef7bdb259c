package flagdapi

import (
	"iter"
	"maps"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tiergate/tiergate"
	evaluationv1 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	"github.com/tiergate/tiergate/server/rpc"
)

// maxNamed is how many flags are named when every flag of a set may be different, and how many
// in one message. What is beyond ends streams instead.
const maxNamed = 4096

// A listed set is one whose flags are known by name.
type listed struct {
	names map[string]time.Time // when each was deleted, zero while it is there; nil when there are too many
	lost  time.Time            // when flags were deleted last that nobody can name
	late  map[string]change    // what became of flags recently
	all   time.Time            // when every flag may have become different last

	groups int       // of streams that chose it
	asked  bool      // by callers
	gone   time.Time // when it was found missing; zero while it is there
}

type change struct {
	at   time.Time
	kind tiergate.FlagChangeKind
}

// take takes a difference in.
func (l *listed) take(d *tiergate.Difference, names iter.Seq[string], now time.Time) {
	if d.All || l.names == nil && len(d.Flags) > 0 {
		if l.names == nil {
			l.lost = now
		}
		l.look(names, now)
	}
	maps.DeleteFunc(l.late, func(_ string, c change) bool { return now.Sub(c.at) > recently })
	all := d.All || len(l.late)+len(d.Flags) > maxNamed
	if all {
		l.all, l.late = now, nil
	} else if l.late == nil {
		l.late = map[string]change{}
	}
	for _, f := range d.Flags {
		if l.names != nil {
			l.names[f.Name] = goneAt(f.Kind, now)
		}
		if !all {
			l.late[f.Name] = change{now, f.Kind}
		}
	}
	l.shrink(now)
}

// goneAt is when a flag was deleted to which something happened now.
func goneAt(kind tiergate.FlagChangeKind, now time.Time) (gone time.Time) {
	if kind == tiergate.FlagDeleted {
		return now
	}
	return gone
}

// look takes the names that there are in. Those that were there are known as deleted: a client
// that was not told of that may keep an answer about them.
func (l *listed) look(names iter.Seq[string], now time.Time) {
	before, there := l.names, map[string]time.Time{}
	l.names = nil
	for name := range names {
		if there[strings.Clone(name)] = (time.Time{}); len(there) > maxNamed {
			return
		}
	}
	for name, gone := range before {
		if _, is := there[name]; is {
			continue
		}
		if gone.IsZero() {
			gone = now
		}
		there[name] = gone
	}
	l.names = there
	l.shrink(now)
}

// shrink forgets what was deleted when there is more than may be named: what nobody can be missing
// any more, and if that is not enough all of it.
func (l *listed) shrink(now time.Time) {
	if len(l.names) <= maxNamed {
		return
	}
	maps.DeleteFunc(l.names, func(_ string, gone time.Time) bool { return !gone.IsZero() && now.Sub(gone) > missed })
	if len(l.names) <= maxNamed {
		return
	}
	l.lost = now
	maps.DeleteFunc(l.names, func(_ string, gone time.Time) bool { return !gone.IsZero() })
	if len(l.names) > maxNamed {
		l.names = nil
	}
}

// changes are what a stream has to tell. They belong to many streams once they are encoded.
type changes struct {
	to       tiergate.Resume
	flags    map[string]tiergate.FlagChangeKind
	message  *rpc.Broadcast // what names flags; nil for none
	subjects bool
	keys     bool
	many     bool // more than can be told
}

// add adds the difference of a set.
func (c *changes) add(l *listed, d *tiergate.Difference, now time.Time) {
	c.subjects, c.keys = c.subjects || d.Subject || d.All, c.keys || d.Keys
	for _, f := range d.Flags {
		c.name(f.Name, f.Kind)
	}
	if d.All {
		c.addAll(l, now.Add(-missed))
	}
}

// addLate adds what became of a set after a moment.
func (c *changes) addLate(l *listed, after time.Time) {
	if l.all.After(after) {
		c.addAll(l, after)
		return
	}
	for name, late := range l.late {
		if late.at.After(after) {
			c.name(name, late.kind)
		}
	}
}

// addAll adds all flags of a set for a client that knew them after a moment.
func (c *changes) addAll(l *listed, after time.Time) {
	c.many = c.many || l.names == nil || l.lost.After(after)
	for name, gone := range l.names {
		if gone.IsZero() {
			c.name(name, tiergate.FlagUpdated)
		} else {
			c.name(name, tiergate.FlagDeleted)
		}
	}
}

func (c *changes) name(flag string, kind tiergate.FlagChangeKind) {
	if c.flags == nil {
		c.flags = map[string]tiergate.FlagChangeKind{}
	}
	c.flags[flag] = kind
}

// encode makes the message of the names.
func (c *changes) encode() {
	c.many = c.many || len(c.flags) > maxNamed
	if len(c.flags) > 0 && !c.many {
		flags := make(map[string]*structpb.Value, len(c.flags))
		for name, kind := range c.flags {
			flags[name] = kinds[kind]
		}
		c.message = changeOf(flags)
	}
	c.flags = nil
}

// The parts of messages, shared by all, and messages. Both versions of the protocol have the same.
var (
	kinds = map[tiergate.FlagChangeKind]*structpb.Value{
		tiergate.FlagWritten: kindOf(tiergate.FlagWritten),
		tiergate.FlagUpdated: kindOf(tiergate.FlagUpdated),
		tiergate.FlagDeleted: kindOf(tiergate.FlagDeleted),
	}
	providerReady = rpc.NewBroadcast(&evaluationv1.EventStreamResponse{Type: "provider_ready"})
	keepAlive     = rpc.NewBroadcast(&evaluationv1.EventStreamResponse{Type: "keep_alive"})
	noFlags       = changeOf(map[string]*structpb.Value{})
)

func kindOf(kind tiergate.FlagChangeKind) *structpb.Value {
	return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"type": structpb.NewStringValue(string(kind))}})
}

// changeOf is the message that flags have changed.
func changeOf(flags map[string]*structpb.Value) *rpc.Broadcast {
	data := &structpb.Struct{Fields: map[string]*structpb.Value{"flags": structpb.NewStructValue(&structpb.Struct{Fields: flags})}}
	return rpc.NewBroadcast(&evaluationv1.EventStreamResponse{Type: "configuration_change", Data: data})
}
