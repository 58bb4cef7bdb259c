package policy

import (
	"hash/maphash"
	"strings"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/tiergate/tiergate"
)

// keptObjects are the objects of input documents that were made last of features, teams and
// users' tiers, which are immutable and asked about again and again. It has a fixed number of slots, and
// one object takes another's. It is safe for concurrent use; nil keeps nothing.
type keptObjects struct {
	seed  maphash.Seed
	slots [keptSlots]atomic.Pointer[keptObject]
}

type keptObject struct {
	of   objectKey
	term *ast.Term
}

// An objectKey is a feature, a team as it is to one subject, or a user of whom nothing but
// the tiers is wanted.
type objectKey struct {
	feature            *Feature
	team               *Team
	role               string
	byKey              bool
	userTier, teamTier string // the user's own and that of the teams; of neither feature nor team
}

const (
	keptSlots  = 256
	keptWeight = 8 << 10 // bytes of texts in one object: those with more are made anew
	termWeight = 64      // bytes besides its text that a term is taken for
)

func newKeptObjects() *keptObjects { return &keptObjects{seed: maphash.MakeSeed()} }

// object returns the object that is kept, else what build makes, with its weight.
func (k *keptObjects) object(of objectKey, build func() (*ast.Term, int)) *ast.Term {
	if k == nil {
		term, _ := build()
		return term
	}
	slot := &k.slots[maphash.Comparable(k.seed, of)%keptSlots]
	if kept := slot.Load(); kept != nil && kept.of == of {
		return kept.term
	}
	term, weight := build()
	if weight <= keptWeight {
		of.role, of.userTier, of.teamTier = strings.Clone(of.role), strings.Clone(of.userTier), strings.Clone(of.teamTier)
		slot.Store(&keptObject{of, term})
	}
	return term
}

func (s *Subject) weight() int { return len(s.UserTier) + len(s.TeamTier) }

func (f *Feature) weight() int {
	return len(f.name) + len(f.set) + weightOfTexts(f.tiers) + weightOfValue(f.metadata)
}

func (t *Team) weight() int {
	return len(t.row.ID) + len(t.row.Tier) + weightOfTexts(t.row.Settings.AllowedFeatures)
}

func weightOfTexts(list []string) int {
	n := len(list) * termWeight
	for _, s := range list {
		n += len(s)
	}
	return n
}

func weightOfValue(v tiergate.Value) int {
	n := termWeight
	switch v.Kind() {
	case tiergate.NumberValue, tiergate.StringValue:
		n += len(v.Text())
	case tiergate.ArrayValue, tiergate.ObjectValue:
		for i := range v.Len() {
			if v.Kind() == tiergate.ObjectValue {
				n += termWeight + len(v.KeyAt(i))
			}
			n += weightOfValue(v.Index(i))
		}
	}
	return n
}
