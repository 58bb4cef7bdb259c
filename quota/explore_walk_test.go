package quota

import (
	"testing"

	"pgregory.net/rapid"
)

// Walks are worlds that are larger, and go on for longer, than every one of them could be
// visited: the same events and the same checks as the explorer's, chosen at random.

// always is a budget that does not end within a walk.
const always = 200

func walks() []configuration {
	return []configuration{
		{
			name: "crashes and pauses", nodes: 4, buckets: 3, amounts: []int64{60}, units: []uint8{1, 2}, asks: []wish{one, more, two, back}, net: 4, forgets: true, late: true,
			budget: with(anySpend, always, anySend, always, anyUndo, always, anyDouble, always, anyLoss, always, anyCrash, 30, anyPower, 3, anyTime, always),
		},
		{
			name: "limits and periods", nodes: 4, buckets: 2, periods: true, amounts: []int64{20, 35, 10, 25}, units: []uint8{1, 2}, asks: []wish{one, more, two, back}, net: 4, forgets: true,
			budget: with(anySpend, always, anySend, always, anyUndo, always, anyDouble, always, anyLoss, always, anyCrash, 20, anyLearn, 12, anyReserve, 20, anyTime, 20),
		},
		{
			name: "failovers", nodes: 4, buckets: 2, amounts: []int64{40}, units: []uint8{1, 2}, asks: []wish{one, more, back}, net: 4, forgets: true,
			budget: with(anySpend, always, anySend, always, anyLoss, always, anyCrash, 5, anyFailover, 4, anyTime, always),
		},
		{
			name: "keys and copies", nodes: 4, buckets: 1, amounts: []int64{40}, units: []uint8{1}, asks: []wish{one, more, back}, net: 4, forgets: true,
			budget: with(anySpend, always, anySend, always, anyKeyed, 12, anyLoss, always, anyCrash, 10, anyClone, 1),
		},
	}
}

// However long a larger world goes on, at random, what the explorer checks in small worlds
// holds in it, too.
func TestExplore_long_walks(t *testing.T) {
	for _, cfg := range walks() {
		t.Run(cfg.name, func(t *testing.T) {
			longest := 0
			rapid.Check(t, func(t *rapid.T) {
				x := newExplorer(&cfg)
				w := cfg.start()
				var way []event
				steps := rapid.SampledFrom([]int{30, 300, 1000}).Draw(t, "steps")
				choices := rapid.SliceOfN(rapid.Uint16(), steps, steps).Draw(t, "choices")
				var events []event
				for _, c := range choices {
					if events = x.events(&w, events[:0]); len(events) == 0 {
						break
					}
					e := events[int(c)%len(events)]
					way = append(way, e)
					next, fault := x.step(&w, e)
					if fault == "" {
						fault = x.wrong(&next)
					}
					if fault != "" {
						t.Fatalf("%s\n%s%s", fault, x.story(way), x.describe(&next))
					}
					w = next
				}
				if fault := x.quiet(&w); fault != "" {
					t.Fatalf("%s\n%s%s", fault, x.story(way), x.describe(&w))
				}
				longest = max(longest, len(way))
			})
			t.Logf("the longest walk has %d steps", longest)
		})
	}
}
