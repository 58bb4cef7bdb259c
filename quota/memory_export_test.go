package quota

import (
	"maps"
	"slices"

	"github.com/tiergate/tiergate"
)

// MemorySum is what a bucket of a Memory keeps, and what hangs on it.
type MemorySum struct {
	Bucket         tiergate.Bucket
	Amount, Rev    int64
	Kept, Followed [4]int64 // used, leased, reserved, forfeited
}

// SumsOf returns all buckets of a Memory.
func SumsOf(m *Memory) []MemorySum {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []MemorySum
	for _, key := range slices.SortedFunc(maps.Keys(m.buckets), compareBuckets) {
		b := m.buckets[key]
		s := MemorySum{Bucket: key, Amount: b.amount, Rev: b.rev, Kept: [4]int64{b.used, b.leased, b.reserved, b.forfeited}}
		s.Followed[0] = m.usage[key] + int64(len(b.items))
		for _, l := range b.leases {
			if l.state == tiergate.LeaseForfeit {
				s.Followed[3] += max(0, l.granted-l.reported)
			} else {
				s.Followed[1] += max(0, l.granted-l.reported)
			}
		}
		for _, r := range m.reservations {
			for _, h := range r.Holds {
				if h.Bucket == key && r.State == tiergate.ReservationHeld {
					s.Followed[2] += h.Units
				}
			}
		}
		out = append(out, s)
	}
	return out
}

// Forget makes a Memory as new.
func Forget(m *Memory) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.memoryState, m.timeline = memoryState{}, 0
}
