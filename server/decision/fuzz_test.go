package decision_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server/decision"
)

// fuzzed are the resources that read a body.
var fuzzed = []string{
	"check", "consume", "track", "batch/check", "batch/consume", "batch/track", "reservations", "reservations/r1/extend",
	"reservations/r1/commit", "reservations/r1/release", "gauges/add", "gauges/remove", "gauges/replace",
}

// wary is a gate that fails the test when it is handed what it should never see.
func wary(t *testing.T) *gate {
	return &gate{say: func(verb string, u *tiergate.Use) (tiergate.Verdict, error) {
		bad := func(s string, most int) bool {
			return len(s) > most || !utf8.ValidString(s) || slices.ContainsFunc([]byte(s), func(b byte) bool { return b < ' ' })
		}
		switch {
		case u.Flag == "" || bad(u.Flag, 255) || bad(u.UserID, 256) || bad(u.TeamID, 256) || bad(u.IdempotencyKey, 255) || bad(u.Set, 255):
			t.Errorf("%s: a name is no good: %+v", verb, u)
		case u.Cost < 0 || u.Cost > tiergate.MaxAmount:
			t.Errorf("%s: cost %d", verb, u.Cost)
		case u.Metadata != nil && (len(u.Metadata) > 16<<10 || !json.Valid(u.Metadata) || u.Metadata[0] != '{'):
			t.Errorf("%s: metadata %q", verb, u.Metadata)
		case u.Attributes.IsDefined() && u.Attributes.Kind() != tiergate.ObjectValue:
			t.Errorf("%s: attributes %v", verb, u.Attributes.Kind())
		case !u.At.IsZero() && u.At.Sub(now).Abs() > 30*24*time.Hour:
			t.Errorf("%s: at %v", verb, u.At)
		case (u.IdempotencyKey != "") && u.Fingerprint == "":
			t.Errorf("%s: a key without fingerprint", verb)
		}
		return answers(verb, u)
	}}
}

// Whatever the body is, there is no panic, the gate sees only what it may see, and the answer is
// JSON: a decision, a batch, a reservation, or a problem.
func FuzzDecisionBody(f *testing.F) {
	f.Fuzz(func(t *testing.T, resource uint8, body []byte) {
		d, _ := door(func(cfg *decision.Config) {
			g := wary(t)
			cfg.Gate, cfg.Gauges, cfg.Reservations = g, g, new(reservations)
		})
		var req fasthttp.Request
		req.Header.SetMethod(fasthttp.MethodPost)
		req.Header.SetRequestURI("/v1/" + fuzzed[int(resource)%len(fuzzed)])
		req.Header.SetHost("localhost")
		req.SetBody(body)
		var ctx fasthttp.RequestCtx
		ctx.Init(&req, nil, nil)
		defer func() { // "panics" is a feature whose gate does
			if reason := recover(); reason != nil && reason != "boom" {
				panic(reason)
			}
		}()
		d.Handle(&ctx)
		checkForm(t, ctx.Response.StatusCode(), ctx.Response.Body())
	})
}

// Whatever a proxy sends on, there is no panic, the gate sees only what it may see, and nginx is
// answered with 204 or with 403 and a status.
func FuzzProxyQuestion(f *testing.F) {
	f.Fuzz(func(t *testing.T, query string, feature, user, team, cost, key []byte) {
		d, _ := door(func(cfg *decision.Config) { cfg.Gate = wary(t) })
		var req fasthttp.Request
		req.Header.SetRequestURI("/v1/auth/nginx")
		req.URI().SetQueryString(query)
		req.Header.SetHost("localhost")
		for name, value := range map[string][]byte{
			"Tiergate-Feature": feature, "Tiergate-User": user, "Tiergate-Team": team, "Tiergate-Cost": cost, "Tiergate-Idempotency-Key": key,
		} {
			req.Header.SetBytesV(name, value)
		}
		var ctx fasthttp.RequestCtx
		ctx.Init(&req, nil, nil)
		defer func() { // "panics" is a feature whose gate does
			if reason := recover(); reason != nil && reason != "boom" {
				panic(reason)
			}
		}()
		d.Handle(&ctx)
		status, told := ctx.Response.StatusCode(), string(ctx.Response.Header.Peek("Tiergate-Status"))
		if (status != 204 || told != "") && (status != 403 || len(told) != 3) {
			t.Errorf("status %d, Tiergate-Status %q", status, told)
		}
		if status == 403 && !json.Valid(ctx.Response.Body()) {
			t.Errorf("the answer is %q", ctx.Response.Body())
		}
	})
}

// checkForm demands that an answer is one of the forms that the door has.
func checkForm(t *testing.T, status int, body []byte) {
	t.Helper()
	var got map[string]json.RawMessage
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("status %d: %q is not a JSON object: %v", status, body, err)
	}
	var need []string
	switch {
	case status != fasthttp.StatusOK:
		need = []string{"type", "title", "status", "code", "detail"}
	case got["items"] != nil:
		need = []string{"revision"}
	case got["allow"] == nil:
		need = []string{"reservation", "revision"}
	default:
		need = []string{"allow", "status", "reason", "message", "feature", "variant", "value", "tier", "limits", "retryAfterMs", "revision", "stale", "decisionId"}
	}
	for _, member := range need {
		if got[member] == nil {
			t.Fatalf("status %d: %s lacks %s", status, body, member)
		}
	}
}
