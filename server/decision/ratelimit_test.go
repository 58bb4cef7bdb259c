package decision_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"pgregory.net/rapid"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server/decision"
)

// structured reads a Structured Field that is a List of Strings with Integer and String
// parameters (RFC 9651), and nothing that is not exactly one.
func structured(s string) (names []string, params []map[string]any, err error) {
	for {
		name, rest, err := structuredString(s)
		if err != nil {
			return nil, nil, err
		}
		names, s = append(names, name), rest
		m := map[string]any{}
		for strings.HasPrefix(s, ";") {
			key, rest, ok := strings.Cut(s[1:], "=")
			if !ok || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz-") != "" {
				return nil, nil, fmt.Errorf("the key of a parameter in %q", s)
			}
			if strings.HasPrefix(rest, `"`) {
				if m[key], s, err = structuredString(rest); err != nil {
					return nil, nil, err
				}
				continue
			}
			digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
			n, err := strconv.ParseInt(rest[:digits], 10, 64)
			if err != nil || digits > 15 {
				return nil, nil, fmt.Errorf("the integer in %q", rest)
			}
			m[key], s = n, rest[digits:]
		}
		params = append(params, m)
		if s == "" {
			return names, params, nil
		}
		if s, _ = strings.CutPrefix(s, ", "); s == "" {
			return nil, nil, fmt.Errorf("a comma ends the list")
		}
	}
}

func structuredString(s string) (text, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		return "", "", fmt.Errorf("%q is no string", s)
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return text, s[i+1:], nil
		case c == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			text += string(s[i])
		case c == '\\' || c < ' ' || c > '~':
			return "", "", fmt.Errorf("%q has %q", s, c)
		default:
			text += string(c)
		}
	}
	return "", "", fmt.Errorf("%q does not end", s)
}

// Whatever limits there are, the fields about them can be read by the grammar, name the same
// limits, tell no more than is left, and no window ends after Retry-After.
func TestRateLimit_fields_are_structured(t *testing.T) {
	limit := rapid.Custom(func(t *rapid.T) tiergate.LimitState {
		kinds := []tiergate.LimitKind{tiergate.Quota, tiergate.Rate, tiergate.Concurrency, tiergate.Gauge}
		return tiergate.LimitState{
			Key: rapid.String().Draw(t, "key"), Kind: rapid.SampledFrom(kinds).Draw(t, "kind"),
			Period:   rapid.SampledFrom([]string{"", "second", "minute", "hour", "day", "week", "month", "year", "lifetime"}).Draw(t, "period"),
			Amount:   rapid.Int64Range(0, tiergate.MaxAmount).Draw(t, "amount"),
			Burst:    rapid.Int64Range(0, tiergate.MaxAmount).Draw(t, "burst"),
			AsOf:     now,
			Min:      rapid.Int64Range(-tiergate.MaxAmount, tiergate.MaxAmount).Draw(t, "min"),
			ResetsIn: time.Duration(rapid.Int64Range(-1, int64(400*24*time.Hour)).Draw(t, "resets")),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		v := tiergate.Verdict{Reason: tiergate.UseExhausted, Limits: rapid.SliceOfN(limit, 1, 16).Draw(t, "limits")}
		v.RetryAfter = time.Duration(rapid.Int64Range(0, int64(400*24*time.Hour)).Draw(t, "retry"))
		d, _ := door(func(cfg *decision.Config) { cfg.Gate = &decided{v} })
		var ctx fasthttp.RequestCtx
		fill(&ctx, "/v1/check?reflect=1", `{"feature":"x"}`)
		d.Handle(&ctx)
		h := &ctx.Response.Header
		retry, _ := strconv.ParseInt(string(h.Peek("Retry-After")), 10, 64)
		policies, _, err := structured(string(h.PeekCanonical([]byte("RateLimit-Policy"))))
		if err != nil {
			t.Fatal(err)
		}
		names, params, err := structured(string(h.PeekCanonical([]byte("RateLimit"))))
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(names) != fmt.Sprint(policies) || len(names) != len(v.Limits) {
			t.Fatalf("policies %q, limits %q", policies, names)
		}
		for i, p := range params {
			left, window := p["r"].(int64), p["t"]
			if left > max(v.Limits[i].Min, 0) {
				t.Errorf("%d is told of %d left", left, v.Limits[i].Min)
			}
			if (window == nil) != (v.Limits[i].ResetsIn < 0) {
				t.Errorf("window %v for a reset in %v", window, v.Limits[i].ResetsIn)
			}
			if window != nil && retry > 0 && window.(int64) > retry {
				t.Errorf("window %v ends after Retry-After %d", window, retry)
			}
		}
		if !json.Valid(ctx.Response.Body()) {
			t.Errorf("the answer is %s", ctx.Response.Body())
		}
	})
}

// The use cannot be recorded, though there is room for it. The limits are told and when to ask
// again, and nobody is invited to use what is left.
func TestRateLimit_is_not_told_while_nothing_can_be_recorded(t *testing.T) {
	v := tiergate.Verdict{
		Reason: tiergate.UseUnavailable, RetryAfter: time.Second,
		Limits: []tiergate.LimitState{{Key: "exports", Kind: tiergate.Quota, Period: "month", Amount: 5000, Min: 4000, AsOf: now, ResetsIn: time.Hour}},
	}
	d, _ := door(func(cfg *decision.Config) { cfg.Gate = &decided{v} })
	var ctx fasthttp.RequestCtx
	fill(&ctx, "/v1/consume?reflect=1", `{"feature":"x"}`)
	d.Handle(&ctx)
	h := &ctx.Response.Header
	policy, left, retry := h.PeekCanonical([]byte("RateLimit-Policy")), h.PeekCanonical([]byte("RateLimit")), h.Peek("Retry-After")
	if ctx.Response.StatusCode() != 503 || len(left) > 0 || string(retry) != "1" || !strings.HasPrefix(string(policy), `"exports";q=5000`) {
		t.Errorf("%d with RateLimit %q, RateLimit-Policy %q, Retry-After %q", ctx.Response.StatusCode(), left, policy, retry)
	}
}
