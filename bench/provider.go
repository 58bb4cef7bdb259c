package main

import "context"

// provider measures an evaluation through OpenFeature's Go SDK that is decided in process, beside
// one by the SDK's own provider, which decides nothing. Of several short rounds the best counts,
// for both: it is the difference of two figures, each of which varies by more than that.
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
	floor := best["SDK/noop"]["ns/op"]
	for _, name := range order {
		spent := best[name]["ns/op"]
		over := cell{name: "ns over it", figure: max(0, spent-floor)}
		if name != "SDK/noop" {
			over.must = atMost(400)
		}
		b.out.row(name, cell{name: "ns", figure: spent}, cell{name: "allocations", figure: best[name]["allocs/op"]}, over)
	}
	return nil
}
