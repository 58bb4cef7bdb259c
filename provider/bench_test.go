package provider_test

import (
	"context"
	"testing"

	"github.com/open-feature/go-sdk/openfeature"
	"github.com/open-feature/go-sdk/openfeature/isolated"

	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/provider"
)

// BenchmarkSDK measures an evaluation through the SDK: with its own NoopProvider, which answers
// nothing and which the SDK spares some of its work; with a provider that answers always the same,
// with as much metadata as we have; and in process. The differences are what deciding costs.
func BenchmarkSDK(b *testing.B) {
	about := openfeature.NewEvaluationContext("alice", map[string]any{"teamId": "acme", "plan": "pro", "age": 33})
	inProcess := func(b *testing.B) openfeature.FeatureProvider {
		b.Helper()
		return provider.InProcess(fixed(conformance.Demo()), provider.Options{})
	}
	for _, tc := range []struct {
		name, flag string
		of         func(b *testing.B) openfeature.FeatureProvider
	}{
		{"noop", "new-dashboard", func(*testing.B) openfeature.FeatureProvider { return openfeature.NoopProvider{} }},
		{"constant", "new-dashboard", func(*testing.B) openfeature.FeatureProvider { return constant{} }},
		{"static", "new-dashboard", inProcess},
		{"tiergated", "api-access", inProcess},
		{"percentage", "beta-search", inProcess},
		{"fractional", "checkout-button", inProcess},
	} {
		b.Run(tc.name, func(b *testing.B) {
			c := clientOf(b, tc.of(b))
			b.ReportAllocs()
			if tc.flag == "checkout-button" {
				for b.Loop() {
					if c.String(b.Context(), tc.flag, "", about) == "" {
						b.Fatal("no colour")
					}
				}
				return
			}
			for b.Loop() {
				if _, err := c.BooleanValue(b.Context(), tc.flag, true, about); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A constant provider does nothing but what each does that says what its answers are about.
type constant struct{ openfeature.NoopProvider }

var constantMetadata = openfeature.FlagMetadata{"flagSetId": "default", "version": "fixed-1", "revision": "fixed-1", "tier": "enterprise"}

func (constant) BooleanEvaluation(_ context.Context, _ string, value bool, _ openfeature.FlattenedContext) openfeature.BoolResolutionDetail {
	return openfeature.BoolResolutionDetail{Value: value, ProviderResolutionDetail: openfeature.ProviderResolutionDetail{
		Reason: openfeature.StaticReason, Variant: "on", FlagMetadata: constantMetadata,
	}}
}

// BenchmarkProvider measures the provider alone, between the SDK's flattened context and its
// resolution.
func BenchmarkProvider(b *testing.B) {
	p := provider.InProcess(fixed(conformance.Demo()), provider.Options{})
	clientOf(b, p)
	flat := openfeature.FlattenedContext{"targetingKey": "alice", "teamId": "acme", "plan": "pro", "age": 33}
	for _, flag := range []string{"new-dashboard", "api-access", "beta-search"} {
		b.Run(flag, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.BooleanEvaluation(b.Context(), flag, true, flat)
			}
		})
	}
}

// clientOf is client, and for the SDK's own provider that has no life.
func clientOf(b *testing.B, p openfeature.FeatureProvider) *openfeature.Client {
	b.Helper()
	if _, noop := p.(openfeature.NoopProvider); !noop {
		return client(b, p)
	}
	return isolated.NewAPI().NewClient()
}
