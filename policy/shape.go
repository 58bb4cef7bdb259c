package policy

// A shape says which parts of the input document an evaluation needs. Only those are
// built: the rest could not be read.
type shape struct {
	kinds uint64 // a bit for each leafKind
	// The first members wanted of what others define; nil is all of them.
	metadata, userAttributes, attributes []string

	kept *keptObjects // nil keeps nothing
}

func shapeOf(p projection, leaves []leaf) shape {
	if p.bare {
		return shape{kinds: ^uint64(0)}
	}
	var s shape
	for _, l := range leaves {
		first := s.kinds&(1<<l.kind) == 0
		s.kinds |= 1 << l.kind
		var names *[]string
		switch l.kind {
		case featureMetadata:
			names = &s.metadata
		case userAttributes:
			names = &s.userAttributes
		case attributes:
			names = &s.attributes
		default:
			continue
		}
		if l.sub == nil || !first && *names == nil {
			*names = nil
		} else {
			*names = append(*names, l.sub[0])
		}
	}
	return s
}

func (s *shape) has(kinds ...leafKind) bool {
	for _, k := range kinds {
		if s.kinds&(1<<k) != 0 {
			return true
		}
	}
	return false
}

// hasAny says whether any kind from first to last is wanted.
func (s *shape) hasAny(first, last leafKind) bool {
	return s.kinds>>first&(1<<(last-first+1)-1) != 0
}
