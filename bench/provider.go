package main

import "context"

// provider measures an evaluation through OpenFeature's Go SDK that is decided in process, beside
// one by the SDK's own provider, which decides nothing.
func (b *bencher) provider(ctx context.Context) error {
	time := "2s"
	if b.quick {
		time = "50ms"
	}
	b.out.begin("an evaluation through the Go SDK, beside its NoopProvider")
	found, names, err := b.goBench(ctx, "./provider", "^BenchmarkSDK$", time)
	if err != nil {
		return err
	}
	floor := found["SDK/noop"]["ns/op"]
	for _, name := range names {
		spent := found[name]["ns/op"]
		over := cell{name: "ns over it", figure: spent - floor}
		if name != "SDK/noop" {
			over.must = atMost(400)
		}
		b.out.row(name, cell{name: "ns", figure: spent}, cell{name: "allocations", figure: found[name]["allocs/op"]}, over)
	}
	return nil
}
