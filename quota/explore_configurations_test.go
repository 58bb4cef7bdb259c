package quota

import (
	"os"
	"slices"
)

// with makes a budget.
func with(pairs ...int) (b [budgets]uint8) {
	for i := 0; i < len(pairs); i += 2 {
		b[pairs[i]] = uint8(pairs[i+1])
	}
	return b
}

// What exchanges ask for.
var (
	one  = wish{need: 1, least: 1, want: 1}
	more = wish{need: 1, least: 1, want: 3}
	two  = wish{need: 3, least: 2, want: 3} // somebody waits for two, and somebody for one
	back = wish{}
)

// small worlds, and each is about something else.
var small = []configuration{
	{
		name: "messages", nodes: 2, buckets: 1, amounts: []int64{2}, units: []uint8{1}, asks: []wish{one, back}, net: 3, forgets: true, late: true,
		budget: with(anySpend, 2, anySend, 3, anyUndo, 1, anyDouble, 1, anyLoss, 1),
	},
	{
		name: "three holders", nodes: 3, buckets: 1, amounts: []int64{2}, units: []uint8{1}, asks: []wish{one, back}, net: 2, forgets: true,
		budget: with(anySpend, 2, anySend, 4),
	},
	{
		name: "large uses", nodes: 2, buckets: 1, amounts: []int64{4}, units: []uint8{1, 2}, asks: []wish{one, two, back}, net: 2, forgets: true,
		budget: with(anySpend, 2, anySend, 3, anyUndo, 1),
	},
	{
		name: "crashes", nodes: 2, buckets: 1, amounts: []int64{1}, units: []uint8{1}, asks: []wish{one}, net: 2,
		budget: with(anySpend, 2, anySend, 2, anyCrash, 2, anyLoss, 1),
	},
	{
		name: "messages of the dead", nodes: 2, buckets: 1, amounts: []int64{2}, units: []uint8{1}, asks: []wish{one}, net: 2,
		budget: with(anySpend, 1, anySend, 3, anyCrash, 1, anyDouble, 1, anyTime, 1),
	},
	{
		name: "power", nodes: 2, buckets: 1, amounts: []int64{2}, units: []uint8{1}, asks: []wish{more}, net: 2,
		budget: with(anySpend, 2, anySend, 2, anyPower, 1, anyCrash, 1, anyTime, 1),
	},
	{
		name: "lowered", nodes: 2, buckets: 1, amounts: []int64{3, 1}, units: []uint8{1}, asks: []wish{one, more}, net: 2,
		budget: with(anySpend, 2, anySend, 3, anyUndo, 1, anyLearn, 2),
	},
	{
		name: "raised", nodes: 2, buckets: 1, amounts: []int64{1, 2}, units: []uint8{1}, asks: []wish{one, more, back}, net: 2, forgets: true,
		budget: with(anySpend, 2, anySend, 3, anyLearn, 2, anyLoss, 1),
	},
	{
		name: "periods", nodes: 2, buckets: 2, periods: true, amounts: []int64{2}, units: []uint8{1}, asks: []wish{one, back}, net: 2, forgets: true,
		budget: with(anySpend, 2, anySend, 3, anyLoss, 1),
	},
	{
		name: "failover", nodes: 2, buckets: 1, amounts: []int64{2}, units: []uint8{1}, asks: []wish{one, back}, net: 2, forgets: true,
		budget: with(anySpend, 2, anySend, 3, anyFailover, 1, anyTime, 1),
	},
	{
		name: "lost grants", nodes: 2, buckets: 1, amounts: []int64{2}, units: []uint8{1}, asks: []wish{one}, net: 1,
		budget: with(anySpend, 2, anySend, 5, anyFailover, 1, anyTime, 1),
	},
	{
		name: "forgotten counters", nodes: 2, buckets: 1, amounts: []int64{2}, units: []uint8{1}, asks: []wish{one, back}, net: 1, forgets: true,
		budget: with(anySpend, 3, anySend, 6),
	},
	{
		name: "copies", nodes: 3, buckets: 1, amounts: []int64{2}, units: []uint8{1}, asks: []wish{one, back}, net: 2, forgets: true,
		budget: with(anySpend, 2, anySend, 3, anyClone, 1),
	},
	{
		name: "copies used up", nodes: 3, buckets: 1, amounts: []int64{1}, units: []uint8{1}, asks: []wish{one, back}, net: 1, forgets: true,
		budget: with(anySpend, 2, anySend, 3, anyClone, 1),
	},
	{
		name: "keys", nodes: 2, buckets: 1, amounts: []int64{4}, units: []uint8{1}, asks: []wish{more}, net: 2,
		budget: with(anySpend, 2, anyKeyed, 2, anySend, 2, anyCrash, 1, anyLoss, 1),
	},
	{
		name: "reservations", nodes: 2, buckets: 1, amounts: []int64{3}, units: []uint8{1}, asks: []wish{one, more}, net: 2,
		budget: with(anySpend, 2, anySend, 2, anyReserve, 2, anyTime, 1),
	},
}

// configurations are the small worlds. With TIERGATE_EXPLORE=deep more may happen in each:
// minutes instead of seconds.
func configurations() []configuration {
	all := slices.Clone(small)
	if os.Getenv("TIERGATE_EXPLORE") == "deep" {
		for i := range all {
			all[i].budget[anySend]++
		}
	}
	return all
}
