package decision_test

import (
	"encoding/json"
	"testing"

	"github.com/valyala/fasthttp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/conformance"
	tiergatev1 "github.com/tiergate/tiergate/internal/wire/tiergate/v1"
	"github.com/tiergate/tiergate/server/decision"
	"github.com/tiergate/tiergate/server/rpc"
)

// setsConfig is what both doors answer from in the world with several flag sets, for the caller
// of a case.
func setsConfig(t *testing.T, c conformance.SetCase) decision.Config {
	t.Helper()
	cfg := realConfigOf(t, conformance.Sets())
	if key := c.Key(); key != nil {
		cfg.Credential = func(string) (*tiergate.Key, error) { return key, nil }
	}
	return cfg
}

func setAnswer(t *testing.T, reason, variant string) conformance.SetAnswer {
	t.Helper()
	switch tiergate.UseReason(reason) {
	case tiergate.UseAllowed:
		return conformance.SetAnswer{Variant: variant}
	case tiergate.UseFlagNotFound:
		return conformance.SetAnswer{ErrorCode: string(tiergate.FlagNotFound)}
	}
	t.Errorf("the reason is %s", reason)
	return conformance.SetAnswer{}
}

// Over HTTP a question's set, or the key, chooses the flag set: the one that every door chooses.
func TestConformance_of_flag_sets(t *testing.T) {
	conformance.RunSets(t, conformance.SetDoor{}, func(t *testing.T, c conformance.SetCase) conformance.SetAnswer {
		question := map[string]any{"feature": c.Flag}
		if c.Named != "" {
			question["set"] = c.Named
		}
		body, _ := json.Marshal(question)
		var ctx fasthttp.RequestCtx
		fill(&ctx, "/v1/consume", string(body))
		ctx.Request.Header.Set("X-API-Key", "k")
		decision.New(setsConfig(t, c)).Handle(&ctx)
		var got struct{ Reason, Variant, Code string }
		if err := json.Unmarshal(ctx.Response.Body(), &got); err != nil {
			t.Fatal(err)
		}
		if ctx.Response.StatusCode() != 200 {
			return conformance.SetAnswer{Refused: tiergate.Code(got.Code)}
		}
		return setAnswer(t, got.Reason, got.Variant)
	})
}

// And so it does over gRPC.
func TestRPC_conformance_of_flag_sets(t *testing.T) {
	conformance.RunSets(t, conformance.SetDoor{}, func(t *testing.T, c conformance.SetCase) conformance.SetAnswer {
		ctx := t.Context()
		if key := c.Key(); key != nil {
			ctx = rpc.WithKey(ctx, key)
		}
		r, err := decision.NewService(setsConfig(t, c)).Consume(ctx, &tiergatev1.ConsumeRequest{Question: &tiergatev1.Question{Feature: c.Flag, Set: c.Named}})
		switch status.Code(err) {
		case codes.OK:
			return setAnswer(t, r.Verdict.Reason, r.Verdict.Variant)
		case codes.PermissionDenied:
			return conformance.SetAnswer{Refused: tiergate.Forbidden}
		}
		t.Fatal(err)
		return conformance.SetAnswer{}
	})
}

// In a set that is not there nothing is allowed, also no feature that has limits only: a set
// that is mistyped must not lift what the flag of that name demands.
func TestReal_no_such_set(t *testing.T) {
	d := real(t)
	for _, feature := range []string{"model-training", "exports", "new-dashboard"} {
		if status, s := talk(t, d, "consume", `{"feature":"`+feature+`","subject":{"user":"ivan"},"set":"nowhere"}`); status != 200 || s.Reason != string(tiergate.UseFlagNotFound) {
			t.Errorf("%s: %d %+v", feature, status, s)
		}
	}
	if _, s := talk(t, d, "consume", `{"feature":"exports","subject":{"user":"ivan"},"set":"default"}`); !s.Allow {
		t.Errorf("in the set that is there: %+v", s)
	}
	if status, s := talk(t, d, "track", `{"feature":"exports","subject":{"user":"ivan"},"set":"nowhere"}`); status != 200 || !s.Allow {
		t.Errorf("what has happened is recorded all the same: %d %+v", status, s)
	}
}
