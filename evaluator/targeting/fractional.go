package targeting

import (
	"math"

	"github.com/twmb/murmur3"

	"github.com/tiergate/tiergate"
)

// maxWeight is the largest sum of weights.
const maxWeight = math.MaxInt32

// A bucket is one entry of fractional.
type bucket struct {
	variant tiergate.Value
	weight  int64
}

// A split is a whole set of entries, good or not. The first few need no memory of their
// own, so that entries can be computed per decision.
type split struct {
	few   [6]bucket
	many  []bucket // the entries after the few
	n     int
	total int64
	bad   bool // an entry is malformed: fractional yields null
}

func (s *split) add(entry tiergate.Value) {
	if !isArray(entry) || entry.Len() == 0 || entry.Len() > 2 {
		s.bad = true
		return
	}
	weight := number(1)
	if entry.Len() == 2 {
		weight = entry.Index(1)
	}
	s.addBucket(entry.Index(0), weight)
}

func (s *split) addBucket(variant, weight tiergate.Value) {
	f := weight.Float()
	if isComposite(variant) || weight.Kind() != tiergate.NumberValue || f != math.Trunc(f) || math.IsInf(f, 0) {
		s.bad = true
		return
	}
	w := int64(min(max(f, 0), maxWeight+1)) // negative weights come of rollout arithmetic
	if s.total += w; s.total > maxWeight {
		s.bad = true
		return
	}
	if s.n < len(s.few) {
		s.few[s.n] = bucket{orNull(variant), w}
	} else {
		s.many = append(s.many, bucket{orNull(variant), w})
	}
	s.n++
}

// pick returns the variant of the bucket that a hash falls in.
func (s *split) pick(hash uint32) tiergate.Value {
	if s.bad {
		return tiergate.NullOf()
	}
	at := bucketOf(hash, s.total)
	for i := range min(s.n, len(s.few)) {
		if at -= s.few[i].weight; at < 0 {
			return s.few[i].variant
		}
	}
	for i := range s.many {
		if at -= s.many[i].weight; at < 0 {
			return s.many[i].variant
		}
	}
	return tiergate.NullOf()
}

// bucketOf maps a hash to 0 … total-1.
func bucketOf(hash uint32, total int64) int64 {
	return int64(uint64(hash) * uint64(total) >> 32)
}

// InShare reports whether a user is in the first weight of 100,000 parts of a flag's
// users: what fractional answers with the implicit key and the weights "in", first, and
// the rest "out". Without a user nobody is in.
func InShare(flagKey, userID string, weight int64) bool {
	return userID != "" && bucketOf(hashOf(flagKey, userID), 100_000) < weight
}

func hashOf(flagKey, userID string) uint32 {
	var buf [256]byte
	return murmur3.Sum32(append(append(buf[:0], flagKey...), userID...))
}

// fractional builds the operator, with its entries ready when they are constant.
func (b *builder) fractional(op *operator, args *syntax) (node, error) {
	n, err := b.arguments(op, args)
	if err != nil {
		return n, err
	}
	if n.spread || len(n.kids) == 0 || !n.kids[0].isConst() || !isString(n.kids[0].lit) {
		b.reads.Caller = true // the implicit key
	}
	if n.spread || len(n.kids) == 0 {
		return n, nil
	}
	entries := n.kids
	if args.at(0).kind != list {
		entries = entries[1:]
	}
	var s split
	for i := range entries {
		if !entries[i].isConst() {
			return n, nil
		}
		s.add(entries[i].lit)
	}
	n.more = &more{split: &s}
	n.strict = args.at(0).kind == list // the key is the implicit one
	return n, nil
}

// fractional buckets by the first argument when that is a string, else by the flag and
// its user; null when there is no user or an entry is malformed.
func (m *machine) fractional(n *node) (tiergate.Value, bool) {
	if n.more != nil && n.strict {
		return m.pickImplicit(n.more.split), true
	}
	if n.spread || len(n.kids) == 0 {
		return m.fractionalOf(n)
	}
	return m.fractionalComputed(n)
}

// fractionalComputed evaluates the key, the entries or both.
func (m *machine) fractionalComputed(n *node) (tiergate.Value, bool) {
	var s split
	if n.kids[0].op == opList {
		if !m.addEntries(&s, n.kids) {
			return tiergate.Value{}, false
		}
		return m.pickImplicit(&s), true
	}
	var key buffer
	first, ok := m.bucketKey(&key, &n.kids[0])
	if !ok {
		return tiergate.Value{}, false
	}
	hash := murmur3.Sum32(key.bytes())
	if n.more != nil && !first.IsDefined() {
		return n.more.split.pick(hash), true
	}
	if first.IsDefined() { // not a string: it is an entry, and the key the implicit one
		s.add(first)
	}
	if !m.addEntries(&s, n.kids[1:]) {
		return tiergate.Value{}, false
	}
	if first.IsDefined() {
		return m.pickImplicit(&s), true
	}
	return s.pick(hash), true
}

// bucketKey evaluates the first argument: a string into key, else the value itself is
// returned, with undefined as null.
func (m *machine) bucketKey(key *buffer, n *node) (tiergate.Value, bool) {
	if n.op == opCat && !n.spread && !n.folded {
		return tiergate.Value{}, m.appendCat(key, n)
	}
	v, ok := m.eval(n)
	if ok && isString(v) {
		key.write(v.Text())
		return tiergate.Value{}, true
	}
	return orNull(v), ok
}

// addEntries evaluates entries without building their lists.
func (m *machine) addEntries(s *split, entries []node) bool {
	for i := range entries {
		e := &entries[i]
		if e.op != opList || len(e.kids) == 0 || len(e.kids) > 2 {
			v, ok := m.eval(e)
			if !ok {
				return false
			}
			s.add(v)
			continue
		}
		variant, ok := m.eval(&e.kids[0])
		if !ok {
			return false
		}
		weight := number(1)
		if len(e.kids) == 2 {
			if weight, ok = m.eval(&e.kids[1]); !ok {
				return false
			}
		}
		s.addBucket(variant, weight)
	}
	return true
}

// fractionalOf takes its arguments from one computed value.
func (m *machine) fractionalOf(n *node) (tiergate.Value, bool) {
	var a arguments
	if !m.arguments(n, &a) {
		return tiergate.Value{}, false
	}
	if a.n == 0 {
		return tiergate.NullOf(), true
	}
	var s split
	explicit := isString(a.at(0))
	for i := range a.n {
		if i > 0 || !explicit {
			s.add(a.at(i))
		}
	}
	if explicit {
		return s.pick(murmur3.StringSum32(a.at(0).Text())), true
	}
	return m.pickImplicit(&s), true
}

func (m *machine) pickImplicit(s *split) tiergate.Value {
	user := m.scope.user()
	if falsy(user) {
		return tiergate.NullOf()
	}
	return s.pick(hashOf(m.scope.FlagKey, toString(user)))
}
