package ofrep_test

import (
	"encoding/json"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/server/ofrep"
	"github.com/tiergate/tiergate/server/ofrep/ofreptest"
)

// engine is the real evaluator over the demo data.
func engine(tb testing.TB, more ...tiergate.Change) *evaluator.Engine {
	tb.Helper()
	e := evaluator.New(evaluator.Options{})
	err := e.Apply(tb.Context(), tiergate.Revision{
		Resume: tiergate.Resume{Epoch: "0123456789abcdef", Rev: 7}, Whole: true,
		Changes: tiergate.ChangesOf(append(conformance.Demo(), more...)...),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// Over OFREP the demo data leads to the decisions that were worked out by hand.
func TestConformance_over_HTTP(t *testing.T) {
	addr := serve(t, appOf(ofrep.Config{Evaluator: engine(t)}))
	conformance.Run(t, func(t *testing.T, c conformance.Case) conformance.Answer {
		body, err := json.Marshal(map[string]any{"context": c.Context})
		if err != nil {
			t.Fatal(err)
		}
		got := exchange(t, addr, post(flags+"/"+c.Flag, string(body)), 1)[0]
		var a struct {
			conformance.Answer
			Metadata struct {
				Tier    string
				Denied  bool
				Upgrade string
			}
		}
		if err := json.Unmarshal([]byte(got.body), &a); err != nil {
			t.Fatalf("%s: %v", got.body, err)
		}
		a.Tier, a.Denied, a.Upgrade = a.Metadata.Tier, a.Metadata.Denied, a.Metadata.Upgrade
		if a.ErrorCode != "" {
			a.Reason, a.Tier = string(tiergate.ReasonError), "" // which an error does not carry
		}
		return a.Answer
	})
}

// The official providers make the same of them.
func TestConformance_through_npm_providers(t *testing.T) {
	addr := serve(t, appOf(ofrep.Config{Evaluator: engine(t)}))
	ofreptest.Run(t, "http://"+addr, conformance.Cases())
}

// BenchmarkDoor measures the door and the real evaluator together, between a parsed
// request and its answer.
func BenchmarkDoor(b *testing.B) {
	e := engine(b)
	handler := appOf(ofrep.Config{Evaluator: e}).Server().Handler
	floor := bareFiber().Handler()
	for name, flag := range map[string]string{
		"floor": "on", "static": "new-dashboard", "tiergated": "model-training", "fractional": "checkout-button", "percentage": "beta-search",
	} {
		b.Run(name, func(b *testing.B) {
			handler := handler
			if name == "floor" {
				handler = floor
			}
			var ctx fasthttp.RequestCtx
			fill(&ctx, flags+"/"+flag)
			b.ReportAllocs()
			for b.Loop() {
				ctx.Response.Reset()
				handler(&ctx)
			}
			if ctx.Response.StatusCode() != 200 {
				b.Fatalf("%d %s", ctx.Response.StatusCode(), ctx.Response.Body())
			}
		})
	}
}
