package decision_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server/decision"
)

// A proxy's question comes from its query and from headers, of which the query wins; it is
// answered whatever the method is, and nothing is taken unless the operator says so.
func TestProxy_asks(t *testing.T) {
	addr, g := serve(t, nil)
	for name, tc := range map[string]struct{ raw, asked string }{
		"query": {request("GET", "/v1/auth/nginx?feature=x&user=alice&team=acme&set=web", ""), "check web/x by alice of acme cost 0"},
		"headers": {
			request("DELETE", "/v1/auth/forward", "", "Tiergate-Feature: x", "tiergate-user: alice", "Tiergate-Team: acme", "Tiergate-Cost: 2"),
			"check default/x by alice of acme cost 2",
		},
		"query wins": {
			request("PUT", "/v1/auth/nginx?feature=x&user=alice&cost=2&mode=consume", "", "Tiergate-Feature: y", "Tiergate-User: mallory", "Tiergate-Cost: 1"),
			"consume default/x by alice of - cost 2",
		},
		"mode is no header":     {request("GET", "/v1/auth/nginx?feature=x", "", "Tiergate-Mode: consume"), "check default/x by - of - cost 0"},
		"once for each request": {request("GET", "/v1/auth/nginx?feature=x&mode=consume", "", "Tiergate-Idempotency-Key: r1"), "consume default/x by - of - cost 0 key r1"},
		"a key for a check":     {request("GET", "/v1/auth/nginx?feature=x&mode=check", "", "Tiergate-Idempotency-Key: r1"), "check default/x by - of - cost 0"},
		"empty is nothing":      {request("GET", "/v1/auth/forward?feature=x&user=", "", "Tiergate-Team: "), "check default/x by - of - cost 0"},
		"the page's origin":     {request("GET", "/v1/auth/nginx?feature=x&mode=consume", "", "Origin: https://app.example", "Tiergate-Feature: x"), "consume default/x by - of - cost 0"},
		"a body's encoding":     {request("GET", "/v1/auth/nginx?feature=x", "", "Content-Encoding: gzip"), "check default/x by - of - cost 0"},
		"length without body":   {request("GET", "/v1/auth/nginx?feature=x", "", "Content-Length: 1000000000"), "check default/x by - of - cost 0"},
		"encoded in the query":  {request("GET", "/v1/auth/nginx?feature=a%2Fb&user=j%C3%BCrgen", ""), "check default/a/b by jürgen of - cost 0"},
		"HEAD":                  {request("HEAD", "/v1/auth/forward?feature=x", ""), "check default/x by - of - cost 0"},
	} {
		t.Run(name, func(t *testing.T) {
			g.uses = nil
			got := ask(t, addr, tc.raw)
			if got.status != 204 || got.body != "" || got.header.Get("Tiergate-Tier") != "pro" || got.header.Get("Tiergate-Revision") != "01234567-7" ||
				got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %q %v", got.status, got.body, got.header)
			}
			if diff := cmp.Diff([]string{tc.asked}, g.uses); diff != "" {
				t.Errorf("what the gate was asked (-want +got):\n%s", diff)
			}
		})
	}
}

// A page of another site makes a browser ask: it can write the address, but no header of a
// proxy's. It may look, without seeing the answer, and takes nothing.
func TestProxy_takes_nothing_for_a_page(t *testing.T) {
	addr, g := serve(t, nil)
	for _, path := range []string{"/v1/auth/forward", "/v1/auth/nginx"} {
		raw := request("GET", path+"?feature=x&user=alice&mode=consume", "", "Sec-Fetch-Site: cross-site", "Referer: https://evil.example/")
		if got := ask(t, addr, raw); got.header.Get("Tiergate-Status") != "400" || got.header.Get("Tiergate-Reason") != "ERROR" || len(g.uses) != 0 {
			t.Errorf("%s: %d %v, asked %q", path, got.status, got.header, g.uses)
		}
	}
}

// A deny is the status itself, or for nginx always 403 with the status in a header, and says
// in headers why, until when, and what is left.
func TestProxy_denies(t *testing.T) {
	acme := &tiergate.Key{TeamID: "acme", Scopes: []string{tiergate.ScopeEvaluate}}
	addr, _ := serve(t, func(cfg *decision.Config) {
		cfg.Credential = func(text string) (*tiergate.Key, error) {
			if text == "acme" {
				return acme, nil
			}
			return nil, tiergate.Errorf(tiergate.Unauthorized, "no")
		}
	})
	for name, tc := range map[string]struct {
		query   string
		headers []string
		status  int
		want    http.Header
	}{
		"tier": {"feature=tier", nil, 403, http.Header{"Tiergate-Reason": {"TIER"}, "Tiergate-Message": {"Feature not available for your tier"}, "Tiergate-Tier": {"free"}}},
		"exhausted": {"feature=exhausted", nil, 429, http.Header{
			"Tiergate-Reason": {"EXHAUSTED"}, "Tiergate-Message": {"Usage limit exceeded"}, "Tiergate-Tier": {"free"}, "Retry-After": {"129601"},
			"Ratelimit": {`"exports-month";r=0;t=86400, "api";r=19;t=1`}, "Ratelimit-Policy": {`"exports-month";q=100;w=2592000, "api";q=10;w=1;tiergate-burst=20`},
		}},
		"unknown":        {"feature=nope", nil, 404, http.Header{"Tiergate-Reason": {"FLAG_NOT_FOUND"}, "Tiergate-Message": {"There is no such feature"}, "Tiergate-Tier": {"free"}}},
		"nobody can say": {"feature=away", nil, 503, http.Header{"Tiergate-Reason": {"UNAVAILABLE"}, "Tiergate-Message": {"It cannot be decided now"}, "Tiergate-Tier": {"free"}, "Retry-After": {"1"}}},
		"not loaded":     {"feature=loading", nil, 503, http.Header{"Tiergate-Reason": {"ERROR"}, "Tiergate-Message": {"nothing has been loaded yet"}, "Retry-After": {"1"}}},
		"broken":         {"feature=broken", nil, 500, http.Header{"Tiergate-Reason": {"ERROR"}, "Tiergate-Message": {"internal error"}}},
		"no feature":     {"", nil, 400, http.Header{"Tiergate-Reason": {"ERROR"}, "Tiergate-Message": {"the proxy names no feature: ?feature= or Tiergate-Feature"}}},
		"bad cost":       {"feature=x&cost=-1", nil, 400, http.Header{"Tiergate-Reason": {"ERROR"}, "Tiergate-Message": {"cost is not a whole number from 1 to 2^53, without fraction and exponent"}}},
		"bad mode":       {"feature=x&mode=eat", nil, 400, http.Header{"Tiergate-Reason": {"ERROR"}, "Tiergate-Message": {"mode is neither check nor consume"}}},
		"bad parameter":  {"feature=x&usr=alice", nil, 400, http.Header{"Tiergate-Reason": {"ERROR"}, "Tiergate-Message": {`there is no parameter "usr" here`}}},
		"two users":      {"feature=x", []string{"Tiergate-User: alice", "Tiergate-User: mallory"}, 400, http.Header{"Tiergate-Reason": {"ERROR"}, "Tiergate-Message": {"the header Tiergate-User comes twice"}}},
		"two parameters": {"feature=x&user=a&user=b", nil, 400, http.Header{"Tiergate-Reason": {"ERROR"}, "Tiergate-Message": {"the parameter user comes twice"}}},
		"control":        {"feature=a%0Ab", nil, 400, http.Header{"Tiergate-Reason": {"ERROR"}, "Tiergate-Message": {"feature has a control character"}}},
		"not UTF-8":      {"feature=x&user=%ff", nil, 400, http.Header{"Tiergate-Reason": {"ERROR"}, "Tiergate-Message": {"user is not UTF-8"}}},
		"no encoding":    {"feature=%zz", nil, 400, http.Header{"Tiergate-Reason": {"ERROR"}, "Tiergate-Message": {"the query has a percent sign that encodes no byte"}}},
		"half a percent": {"feature=x&user=100%", nil, 400, http.Header{"Tiergate-Reason": {"ERROR"}, "Tiergate-Message": {"the query has a percent sign that encodes no byte"}}},
		"key may not":    {"feature=x&mode=consume", nil, 500, http.Header{"Tiergate-Reason": {"ERROR"}, "Tiergate-Message": {"the proxy's API key is refused"}}},
	} {
		t.Run(name, func(t *testing.T) {
			headers := append([]string{"X-API-Key: acme"}, tc.headers...)
			forward := ask(t, addr, request("GET", "/v1/auth/forward?"+tc.query, "", headers...))
			nginx := ask(t, addr, request("POST", "/v1/auth/nginx?"+tc.query, "", headers...))
			if forward.status != tc.status || nginx.status != 403 || forward.body != nginx.body {
				t.Errorf("forward %d %s\nnginx   %d %s\nwant %d", forward.status, forward.body, nginx.status, nginx.body, tc.status)
			}
			tc.want.Set("Tiergate-Status", strconv.Itoa(tc.status))
			tc.want.Set("Content-Type", "application/problem+json")
			tc.want.Set("Cache-Control", "no-store")
			tc.want.Set("Tiergate-Revision", "01234567-7")
			for _, got := range []answer{forward, nginx} {
				got.header.Del("Date")
				got.header.Del("Content-Length")
				if diff := cmp.Diff(tc.want, got.header); diff != "" {
					t.Errorf("headers (-want +got):\n%s", diff)
				}
			}
			if !strings.Contains(forward.body, `"detail":"`) || !strings.Contains(forward.body, `"status":`+strconv.Itoa(tc.status)) {
				t.Errorf("the body is %s", forward.body)
			}
		})
	}
	if got := ask(t, addr, request("GET", "/v1/auth/forward?feature=x", "", "X-API-Key: other")); got.status != 500 || got.header.Get("WWW-Authenticate") != "" {
		t.Errorf("a client is asked for the proxy's key: %d %v", got.status, got.header)
	}
	wrong := strings.Replace(request("GET", "/v1/auth/nginx?feature=x", ""), "Host: localhost", "Host: evil.example", 1)
	if got := ask(t, addr, wrong); got.status != 403 || got.header.Get("Tiergate-Status") != "421" {
		t.Errorf("another host: %d %v", got.status, got.header)
	}
}
