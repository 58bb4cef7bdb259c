package main

import "context"

// provider measures an evaluation through OpenFeature's Go SDK that is decided in process, beside
// one by the SDK's own provider, which decides nothing and which the SDK asks no state of, and one
// by a provider that always answers the same, with metadata, which the SDK copies. Of several short
// rounds the best counts, for all: what is told is the difference of two figures, each of which
// varies by more than that.
func (b *bencher) provider(ctx context.Context) error {
	b.out.begin("an evaluation through the Go SDK, beside its NoopProvider")
	best := map[string]figures{}
	var order []string
	for range b.pick(10, 2) {
		found, names, err := b.goBench(ctx, "./provider", "^BenchmarkSDK$", "50ms")
		if err != nil {
			return err
		}
		for name, f := range found {
			if known, ok := best[name]; !ok || f["ns/op"] < known["ns/op"] {
				best[name] = f
			}
		}
		order = names
	}
	floor, constant := best["SDK/noop"]["ns/op"], best["SDK/constant"]["ns/op"]
	for _, name := range order {
		spent := best[name]["ns/op"]
		over := cell{name: "ns over it", figure: max(0, spent-floor)}
		if name != "SDK/noop" && name != "SDK/constant" {
			over.must = atMost(400)
		}
		b.out.row(name, cell{name: "ns", figure: spent}, cell{name: "allocations", figure: best[name]["allocs/op"]}, over,
			cell{name: "ns over a constant", figure: max(0, spent-constant)})
	}
	return nil
}
