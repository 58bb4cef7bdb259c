package decision_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server/decision"
)

// Reflected, the decision's status is the answer's, with the fields about limits; what denies
// is a problem document that holds the whole answer too.
func TestReflect(t *testing.T) {
	addr, _ := serve(t, nil)
	for name, tc := range map[string]struct {
		feature        string
		status         int
		retry          string
		policy, limits string
		kind           string // the problem's type, "" for none
		violated       []string
	}{
		"allowed": {
			"exports", 200, "",
			`"exports-month";q=100;w=2592000, "api";q=10;w=1;tiergate-burst=20, "gr%C3%B6%C3%9Fe\"";q=999999999999999;qu="concurrent-requests"`,
			`"exports-month";r=40;t=86400, "api";r=19;t=1, "gr%C3%B6%C3%9Fe\"";r=0`, "", nil,
		},
		"no limits": {"x", 200, "", "", "", "", nil},
		"exhausted": {
			"exhausted", 429, "129601", `"exports-month";q=100;w=2592000, "api";q=10;w=1;tiergate-burst=20`,
			`"exports-month";r=0;t=86400, "api";r=19;t=1`,
			"https://iana.org/assignments/http-problem-types#quota-exceeded",
			[]string{"exports-month"},
		},
		"contended": {
			"contended", 429, "2", `"exports-month";q=100;w=2592000`, `"exports-month";r=0;t=2`,
			"https://iana.org/assignments/http-problem-types#quota-exceeded",
			[]string{"exports-month"},
		},
		"nobody can say": {
			"away", 503, "", "", "", "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity", []string{"exports-month"},
		},
		"tier":    {"tier", 403, "", "", "", "urn:tiergate:problem:denied", nil},
		"unknown": {"nope", 404, "", "", "", "urn:tiergate:problem:denied", nil},
		"nobody":  {"nobody", 400, "", "", "", "urn:tiergate:problem:denied", nil},
	} {
		t.Run(name, func(t *testing.T) {
			plain := ask(t, addr, post("/v1/consume?reflect=0", `{"feature":"`+tc.feature+`"}`))
			got := ask(t, addr, post("/v1/consume?reflect=1", `{"feature":"`+tc.feature+`"}`))
			h := got.header
			if got.status != tc.status || h.Get("Retry-After") != tc.retry || h.Get("RateLimit-Policy") != tc.policy || h.Get("RateLimit") != tc.limits {
				t.Errorf("%d, Retry-After %q,\nRateLimit-Policy %s\nRateLimit        %s", got.status, h.Get("Retry-After"), h.Get("RateLimit-Policy"), h.Get("RateLimit"))
			}
			if plain.status != 200 || plain.header.Get("RateLimit") != "" || plain.header.Get("Retry-After") != "" {
				t.Errorf("not reflected: %d, %v", plain.status, plain.header)
			}
			want, members := map[string]any{}, map[string]any{}
			if err := json.Unmarshal([]byte(plain.body), &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(got.body), &members); err != nil {
				t.Fatal(err)
			}
			problem := struct {
				Type, Title, Detail string
				Violated            []string `json:"violated-policies"`
			}{}
			_ = json.Unmarshal([]byte(got.body), &problem)
			if problem.Type != tc.kind || !slices.Equal(problem.Violated, tc.violated) || tc.kind != "" && (problem.Title == "" || problem.Detail == "") {
				t.Errorf("the problem is %+v", problem)
			}
			for _, name := range []string{"type", "title", "detail", "violated-policies"} {
				delete(members, name)
			}
			if !maps.EqualFunc(want, members, func(a, b any) bool { x, _ := json.Marshal(a); y, _ := json.Marshal(b); return string(x) == string(y) }) {
				t.Errorf("reflected: %s\nnot:       %s", got.body, plain.body)
			}
			contentType := "application/json"
			if tc.kind != "" {
				contentType = "application/problem+json"
			}
			if h.Get("Content-Type") != contentType {
				t.Errorf("Content-Type %q", h.Get("Content-Type"))
			}
		})
	}
}

// What is told to be left never invites more than a thousand units a second, but for rates,
// which say themselves what may come at once; what nobody knows is not told.
func TestRateLimit_does_not_invite_a_burst(t *testing.T) {
	addr, _ := serve(t, func(cfg *decision.Config) {
		cfg.Gate = &gate{say: func(string, *tiergate.Use) (tiergate.Verdict, error) {
			large := tiergate.LimitState{Kind: tiergate.Quota, Amount: 1e9, Min: 1e9, Max: 1e9, Exact: true, AsOf: now, ResetsIn: time.Second}
			month, minute, gauge, ended, unknown := large, large, large, large, large
			unknown.Key, unknown.AsOf = "unknown", time.Time{}
			month.Key, month.Period = "month", "month"
			minute.Key, minute.Period, minute.Kind = "minute", "minute", tiergate.Rate
			gauge.Key, gauge.Kind, gauge.ResetsIn = "seats", tiergate.Gauge, -1
			ended.Key, ended.Period, ended.ResetsIn = "day", "day", 0
			return tiergate.Verdict{Allow: true, Reason: tiergate.UseAllowed, Limits: []tiergate.LimitState{month, minute, gauge, ended, unknown}}, nil
		}}
	})
	got := ask(t, addr, post("/v1/check?reflect=1", `{"feature":"x"}`))
	const want = `"month";r=1000;t=1, "minute";r=1000000000;t=1, "seats";r=1000000000, "day";r=1000;t=0`
	if r := got.header.Get("RateLimit"); r != want {
		t.Errorf("RateLimit is %s\nwant         %s", r, want)
	}
	if !strings.Contains(got.body, `"key":"unknown","kind":"quota","limit":1000000000,"remaining":{"min":1000000000,"max":1000000000},"resetsInMs":1000,"exact":true,"asOf":null`) {
		t.Errorf("what nobody knows is told as %s", got.body)
	}
	if p := got.header.Get("RateLimit-Policy"); !strings.HasPrefix(p, `"month";q=1000000000;w=2592000, "minute";q=1000000000;w=60, "seats";q=1000000000, `) {
		t.Errorf("RateLimit-Policy is %s", p)
	}
}
