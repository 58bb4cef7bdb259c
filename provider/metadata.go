package provider

import (
	"encoding/json"
	"sync"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
)

// mostKept is how many metadata a shelf keeps: a policy may give everybody a reason of their own.
const mostKept = 1 << 15

// A shelf keeps the metadata of answers of one generation, which are mostly the same: the SDK
// copies what it is given. Safe for concurrent use.
type shelf struct {
	of       *evaluator.Generation
	stale    bool
	set      string
	revision string
	version  string // of flags that have none of their own

	mu   sync.RWMutex
	kept map[label]openfeature.FlagMetadata
}

// A label is what the metadata of an answer depends on within one generation.
type label struct {
	flag, tier, reason, upgrade string
	denied                      bool
}

// shelfOf returns the shelf of the generation in force.
func (p *Provider) shelfOf(g *evaluator.Generation) *shelf {
	s, stale := p.shelf.Load(), p.stale.Load()
	if s != nil && s.of == g && s.stale == stale {
		return s
	}
	next := &shelf{of: g, stale: stale, set: p.set, revision: g.Resume().Revision(), kept: map[label]openfeature.FlagMetadata{}}
	if next.version = next.revision; p.stream != nil {
		if version := p.stream.version.Load(); version != nil {
			next.version = *version
		}
	}
	p.shelf.CompareAndSwap(s, next) // one who came first has the same
	return next
}

func (s *shelf) metadataOf(d *tiergate.Decision) openfeature.FlagMetadata {
	l := label{flag: d.Flag, tier: d.Tier, denied: d.Denied}
	if d.ErrorCode == tiergate.FlagNotFound {
		l.flag = "" // the caller's word, which is nobody's to keep
	}
	if d.Denied {
		l.reason, l.upgrade = d.DenyReason, d.Upgrade
	}
	s.mu.RLock()
	m, ok := s.kept[l]
	s.mu.RUnlock()
	if ok {
		return m
	}
	m = s.make(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) < mostKept {
		s.kept[l] = m
	}
	return m
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
