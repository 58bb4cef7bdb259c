package provider

import (
	"encoding/json"
	"sync/atomic"
	"unsafe"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
)

// slots is how many metadata a shelf keeps.
const slots = 1 << 10

// A shelf keeps the metadata of answers of one generation, which are mostly the same. What it hands
// out is shared and must not be changed: callers are given copies. Safe for concurrent use.
type shelf struct {
	of       *evaluator.Generation
	stale    bool
	timeless bool // time alone changes no answer
	set      string
	revision string
	version  string    // of flags that have none of their own
	editions *editions // a stream's, when the shelf was made
	passed   bool      // the stream has gone on too far to know what version this is of

	kept [slots]atomic.Pointer[labelled]
}

// A label is what the metadata of an answer depends on within one generation.
type label struct {
	flag, tier, reason, upgrade string
	denied                      bool
}

type labelled struct {
	label    label
	metadata openfeature.FlagMetadata
}

// slot is where a label is kept. The texts of one generation stay where they are in memory, so
// that their places tell them apart at no cost; where they are elsewhere something is made twice.
func (l *label) slot() uintptr {
	flag, tier := uintptr(unsafe.Pointer(unsafe.StringData(l.flag))), uintptr(unsafe.Pointer(unsafe.StringData(l.tier)))
	return (flag>>3 ^ flag>>13 ^ tier>>2 ^ tier>>9) % slots
}

// inForce returns the generation in force and its shelf, nil before the first.
func (p *Provider) inForce() (*evaluator.Generation, *shelf) {
	for {
		g := p.engine.Current()
		if g == nil {
			return nil, nil
		}
		if s := p.shelfOf(g); !s.passed || g == p.engine.Current() {
			return g, s
		}
	}
}

// shelfOf returns the shelf of a generation that is, or was a moment ago, in force.
func (p *Provider) shelfOf(g *evaluator.Generation) *shelf {
	s, stale, editions := p.shelf.Load(), p.stale.Load(), p.editions()
	if s != nil && s.of == g && s.stale == stale && s.editions == editions {
		return s
	}
	next := &shelf{
		of: g, stale: stale, timeless: g.Steps(p.set) == tiergate.StepNever,
		set: p.set, revision: g.Resume().Revision(), editions: editions,
	}
	version, known := editions.version(g.Resume())
	if next.version, next.passed = next.revision, editions != nil && !known; version != nil {
		next.version = *version
	}
	p.shelf.CompareAndSwap(s, next) // one who came first has the same
	return next
}

// editions are those of the source, nil if it is no stream.
func (p *Provider) editions() *editions {
	if p.stream == nil {
		return nil
	}
	return p.stream.editions.Load()
}

func (s *shelf) metadataOf(d *tiergate.Decision) openfeature.FlagMetadata {
	l := label{flag: d.Flag, tier: d.Tier, denied: d.Denied}
	if d.ErrorCode == tiergate.FlagNotFound {
		l.flag = "" // the caller's word, which is nobody's to keep
	}
	if d.Denied {
		l.reason, l.upgrade = d.DenyReason, d.Upgrade
	}
	kept := &s.kept[l.slot()]
	if e := kept.Load(); e != nil && e.label == l {
		return e.metadata
	}
	e := &labelled{l, s.make(d)}
	kept.Store(e)
	return e.metadata
}

// make makes the metadata of an answer: the flag's own, flagSetId and version if it has none of
// its own, and ours, whose names win.
func (s *shelf) make(d *tiergate.Decision) openfeature.FlagMetadata {
	m := openfeature.FlagMetadata{"flagSetId": s.set, "version": s.version}
	if len(d.Metadata) > 0 {
		own := append(append(make([]byte, 0, len(d.Metadata)+2), '{'), d.Metadata...)
		_ = json.Unmarshal(append(own, '}'), &m) // what the engine has encoded is JSON
	}
	for _, name := range [...]string{"stale", "tier", "denied", "denyReason", "upgrade"} {
		delete(m, name)
	}
	m["revision"] = s.revision
	if s.stale {
		m["stale"] = true
	}
	if d.Tier != "" {
		m["tier"] = d.Tier
	}
	if d.Denied {
		m["denied"], m["denyReason"] = true, d.DenyReason
		if d.Upgrade != "" {
			m["upgrade"] = d.Upgrade
		}
	}
	return m
}
