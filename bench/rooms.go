package main

import "context"

// rooms measures decisions and the policy in process, each beside its floor.
func (b *bencher) rooms(ctx context.Context) error {
	time := "1s"
	if b.quick {
		time = "50ms"
	}
	for _, table := range roomTables {
		b.out.begin(table.title)
		found, names, err := b.goBench(ctx, table.pkg, table.pattern, time)
		if err != nil {
			return err
		}
		for _, name := range names {
			spent, allocated := cell{name: "ns", figure: found[name]["ns/op"]}, cell{name: "allocations", figure: found[name]["allocs/op"]}
			if most, ok := table.ns[name]; ok {
				spent.must = atMost(most)
				if !table.may[name] {
					allocated.must = atMost(0)
				}
			}
			cells := []cell{spent, allocated}
			if perKey, ok := found[name]["B/key"]; ok {
				cells = append(cells, cell{"bytes per key", perKey, atMost(66)})
			}
			b.out.row(name, cells...)
		}
	}
	return nil
}

// A roomTable is the benchmarks of one kind.
type roomTable struct {
	title, pkg, pattern string
	ns                  map[string]float64 // what a benchmark must take at most; these may not allocate
	may                 map[string]bool    // but these may
}

var roomTables = []roomTable{
	{
		"Decide in process", "./evaluator", "^BenchmarkDecide$|^BenchmarkDecide_floor$|^BenchmarkDecide_all$",
		map[string]float64{
			"Decide/static": 350, "Decide/tier_gated": 350, "Decide/denied": 350, "Decide/by_team": 350, "Decide/unknown": 350,
			"Decide/disabled": 350, "Decide/not_found": 350, "Decide/percentage": 700, "Decide/fractional": 700, "Decide/targeted": 700,
		},
		nil,
	},
	{
		"policy, cached and uncached", "./policy", "^Benchmark(Access_|Floor_)",
		map[string]float64{"Access_cached": 150, "Access_uncached": 20_000},
		map[string]bool{"Access_uncached": true},
	},
	{"targeting", "./evaluator/targeting", ".", nil, nil},
	{
		"rate limits, a million keys that all owe something", "./quota", "^BenchmarkRates$",
		map[string]float64{"Rates/take_one_key": 150, "Rates/take_1M_keys": 1000, "Rates/refuse": 150},
		nil,
	},
	{
		"a use admitted in process: a quota's units taken from a lease", "./quota", "^BenchmarkAdmit$/^admit$",
		map[string]float64{"Admit/admit": 1000},
		nil,
	},
	{
		"a use judged and looked at in process: flag, policy, limits, exceptions, what is left", "./evaluator", "^BenchmarkGate", nil, nil,
	},
	{
		"which period it is", "./quota", "^BenchmarkCalendar$",
		map[string]float64{"Calendar/same_hour": 50, "Calendar/same_day": 50, "Calendar/same_month": 50},
		nil,
	},
	{"the last-known-good file", "./sync", ".", nil, nil},
	{"the usage log on disk", "./quota/spool", "^Benchmark(Append|Durable)", map[string]float64{"Append": 300}, nil},
}
