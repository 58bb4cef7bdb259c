package ofrep_test

import (
	"encoding/json"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/server/ofrep"
)

// Over OFREP a selector, or the key, chooses the flag set: the one that every door chooses.
func TestConformance_of_flag_sets(t *testing.T) {
	e := evaluator.New(evaluator.Options{})
	err := e.Apply(t.Context(), tiergate.Revision{
		Resume: tiergate.Resume{Epoch: "0123456789abcdef", Rev: 7}, Whole: true, Changes: tiergate.ChangesOf(conformance.Sets()...),
	})
	if err != nil {
		t.Fatal(err)
	}
	conformance.RunSets(t, conformance.SetDoor{Selectors: true, Bulk: true}, func(t *testing.T, c conformance.SetCase) conformance.SetAnswer {
		cfg := ofrep.Config{Evaluator: e}
		if key := c.Key(); key != nil {
			cfg.Credential = func(string) (*tiergate.Key, error) { return key, nil }
		}
		door := ofrep.New(cfg)
		var got struct {
			Variant   string
			ErrorCode string
			Flags     []struct{ Key string }
		}
		ask := func(path string) int {
			var ctx fasthttp.RequestCtx
			fill(&ctx, path)
			ctx.Request.Header.Set("X-API-Key", "k")
			if s := c.Select(); s != "" {
				ctx.Request.Header.Set("Flagd-Selector", s)
			}
			door.Handle(&ctx)
			if err := json.Unmarshal(ctx.Response.Body(), &got); err != nil {
				t.Fatalf("%s: %s: %v", path, ctx.Response.Body(), err)
			}
			return ctx.Response.StatusCode()
		}
		bulk, status := ask(flags), ask(flags+"/"+c.Flag)
		if refused := status != 200 && status != 404; refused != (bulk != 200) || refused && got.ErrorCode != string(tiergate.General) {
			t.Errorf("bulk answers %d, single %d with %+v", bulk, status, got)
		}
		switch status {
		case 400:
			return conformance.SetAnswer{Refused: tiergate.Invalid}
		case 403:
			return conformance.SetAnswer{Refused: tiergate.Forbidden}
		}
		a := conformance.SetAnswer{Variant: got.Variant, ErrorCode: got.ErrorCode}
		for _, f := range got.Flags {
			a.All = append(a.All, f.Key)
		}
		return a
	})
}
