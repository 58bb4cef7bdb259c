package decision_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/decision"
)

const (
	rev  = `"revision":"01234567-7","stale":false,`
	on   = `"variant":"on","value":true,"tier":"pro",`
	off  = `"variant":"off","value":false,"tier":"free",`
	left = `{"key":"exports-month","kind":"quota","limit":100,"remaining":{"min":40,"max":60},"resetsInMs":129600000,"exact":false,"asOf":"2026-03-01T12:00:00Z"},` +
		`{"key":"api","kind":"rate","limit":10,"remaining":{"min":19,"max":19},"resetsInMs":2,"exact":true,"asOf":"2026-03-01T12:00:00Z"},` +
		`{"key":"größe\"","kind":"concurrency","limit":9007199254740992,"remaining":{"min":0,"max":0},"resetsInMs":null,"exact":true,"asOf":"2026-03-01T12:00:00Z"}`
)

// Each question reaches the gate as it was meant, and each verdict is answered with all its
// members, whatever it is, with status 200.
func TestAnswers(t *testing.T) {
	addr, g := serve(t, nil)
	for name, tc := range map[string]struct{ path, body, asked, want string }{
		"a check": {
			"check", `{"feature":"exports","subject":{"user":"alice","team":"acme"}}`, "check default/exports by alice of acme cost 0",
			`{"allow":true,"status":200,"reason":"ALLOWED","message":"","feature":"exports",` + on + `"limits":[` + left + `],"retryAfterMs":null,` + rev + `"decisionId":"d1"}`,
		},
		"a check with all": {
			"check", `{"feature":"x","subject":{"user":"alice"},"attributes":{"a":[1]},"cost":9007199254740992,"set":"other"}`, "check other/x by alice of - cost 9007199254740992",
			`{"allow":true,"status":200,"reason":"ALLOWED","message":"","feature":"x",` + on + `"limits":[],"retryAfterMs":null,` + rev + `"decisionId":"d1"}`,
		},
		"members that are null": {
			"check", ` {"feature":"x","subject":null,"attributes":null,"cost":null,"set":null} `, "check default/x by - of - cost 0",
			`{"allow":true,"status":200,"reason":"ALLOWED","message":"","feature":"x",` + on + `"limits":[],"retryAfterMs":null,` + rev + `"decisionId":"d1"}`,
		},
		"consuming": {
			"consume", `{"feature":"x","subject":{"user":null,"team":"acme"},"cost":3,"idempotencyKey":"k1","metadata":{"b": 1.50, "a":"\u00e9"}}`,
			`consume default/x by - of acme cost 3 key k1 with {"b":1.50,"a":"é"}`,
			`{"allow":true,"status":200,"reason":"ALLOWED","message":"","feature":"x",` + on + `"limits":[],"retryAfterMs":null,` + rev + `"decisionId":"d1"}`,
		},
		"consuming again": {
			"consume", `{"feature":"replayed"}`, `consume default/replayed by - of - cost 0`,
			`{"allow":true,"status":200,"reason":"ALLOWED","message":"","feature":"replayed",` + on + `"limits":[],"retryAfterMs":null,` + rev + `"replayed":true,"decisionId":"d1"}`,
		},
		"tracking": {
			"track", `{"feature":"x","subject":{"user":"bob"},"at":"2026-02-28T23:00:00+02:00"}`, `track default/x by bob of - cost 0 at 2026-02-28T21:00:00Z`,
			`{"allow":true,"status":200,"reason":"ALLOWED","message":"","feature":"x",` + on + `"limits":[],"retryAfterMs":null,` + rev + `"decisionId":"d1"}`,
		},
		"not in the tier": {
			"consume", `{"feature":"tier"}`, `consume default/tier by - of - cost 0`,
			`{"allow":false,"status":403,"reason":"TIER","message":"Feature not available for your tier","feature":"tier",` + off + `"limits":[],"retryAfterMs":null,"upgrade":"pro",` + rev + `"decisionId":"d2"}`,
		},
		"contended": {
			"consume", `{"feature":"contended"}`, `consume default/contended by - of - cost 0`,
			`{"allow":false,"status":429,"reason":"CONTENDED","message":"Usage limit exceeded","feature":"contended",` + off +
				`"limits":[{"key":"exports-month","kind":"quota","limit":100,"remaining":{"min":-3,"max":60},"resetsInMs":129600000,"exact":false,"asOf":"2026-03-01T12:00:00Z"}],"deniedBy":"exports-month","retryAfterMs":1200,` + rev + `"decisionId":"d2"}`,
		},
		"nobody can say": {
			"consume", `{"feature":"away"}`, `consume default/away by - of - cost 0`,
			`{"allow":false,"status":503,"reason":"UNAVAILABLE","message":"It cannot be decided now","feature":"away",` + off + `"limits":[],"deniedBy":"exports-month","retryAfterMs":null,` + rev + `"decisionId":"d2"}`,
		},
		"a subject that the limits cannot use": {
			"check", `{"feature":"nobody"}`, `check default/nobody by - of - cost 0`,
			`{"allow":false,"status":400,"reason":"INVALID_CONTEXT","message":"the limit needs a team","feature":"nobody",` + off + `"limits":[],"retryAfterMs":null,` + rev + `"decisionId":"d2"}`,
		},
		"an unknown feature": {
			"check", `{"feature":"nope"}`, `check default/nope by - of - cost 0`,
			`{"allow":false,"status":404,"reason":"FLAG_NOT_FOUND","message":"There is no such feature","feature":"nope","variant":"","value":null,"tier":"free","limits":[],"retryAfterMs":null,` + rev + `"decisionId":"d2"}`,
		},
		"taking a seat": {
			"gauges/add", `{"feature":"x","subject":{"team":"acme"},"item":"bob"}`, `hold bob default/x by - of acme cost 0`,
			`{"allow":true,"status":200,"reason":"ALLOWED","message":"","feature":"x",` + on + `"limits":[],"retryAfterMs":null,` + rev + `"decisionId":"d1"}`,
		},
		"giving a seat back": {
			"gauges/remove", `{"feature":"x","subject":{"team":"acme"},"item":"bob"}`, `drop bob default/x by - of acme cost 0`,
			`{"allow":true,"status":200,"reason":"ALLOWED","message":"","feature":"x",` + on + `"limits":[],"retryAfterMs":null,` + rev + `"decisionId":"d1"}`,
		},
		"saying who sits": {
			"gauges/replace", `{"feature":"x","subject":{"team":"acme"},"items":["bob","al","bob"]}`, `replace al,bob default/x by - of acme cost 0`,
			`{"allow":true,"status":200,"reason":"ALLOWED","message":"","feature":"x",` + on + `"limits":[],"retryAfterMs":null,` + rev + `"decisionId":"d1"}`,
		},
		"saying that nobody sits": {
			"gauges/replace", `{"feature":"x","items":[]}`, `replace  default/x by - of - cost 0`,
			`{"allow":true,"status":200,"reason":"ALLOWED","message":"","feature":"x",` + on + `"limits":[],"retryAfterMs":null,` + rev + `"decisionId":"d1"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g.uses = nil
			got := ask(t, addr, post("/v1/"+tc.path, tc.body))
			if got.status != 200 || got.body != tc.want {
				t.Errorf("status %d, body %s\nwant %s", got.status, got.body, tc.want)
			}
			if !json.Valid([]byte(got.body)) {
				t.Error("the answer is not JSON")
			}
			if ct, r := got.header.Get("Content-Type"), got.header.Get("Tiergate-Revision"); ct != "application/json" || r != "01234567-7" {
				t.Errorf("Content-Type %q, Tiergate-Revision %q", ct, r)
			}
			if diff := cmp.Diff([]string{tc.asked}, g.uses); diff != "" {
				t.Errorf("what the gate was asked (-want +got):\n%s", diff)
			}
		})
	}
}

// fault is what each problem document says.
type fault struct {
	Type, Title, Code, Detail, Field string
	Status                           int
	Violated                         []string `json:"violated-policies"`
}

func readFault(t *testing.T, got answer) fault {
	t.Helper()
	var f fault
	dec := json.NewDecoder(strings.NewReader(got.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		t.Fatalf("the error %d %q is not as it should be: %v", got.status, got.body, err)
	}
	if f.Status != got.status || f.Title == "" || f.Detail == "" || got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("the error %d %q lacks something, or its Content-Type is %q", got.status, got.body, got.header.Get("Content-Type"))
	}
	if !strings.HasSuffix(f.Type, f.Code) && f.Code != "exhausted" {
		t.Errorf("the type %q does not end with the code %q", f.Type, f.Code)
	}
	return f
}

// What is wrong with a question is refused with a problem document that names it, and the gate
// is not asked.
func TestBadQuestions_are_refused(t *testing.T) {
	addr, g := serve(t, nil)
	long := strings.Repeat("x", 257)
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	for name, tc := range map[string]struct {
		path, body string
		status     int
		field      string
	}{
		"negative cost":                {"consume", `{"feature":"x","cost":-1}`, 400, "cost"},
		"zero cost":                    {"consume", `{"feature":"x","cost":0}`, 400, "cost"},
		"minus zero":                   {"consume", `{"feature":"x","cost":-0}`, 400, "cost"},
		"huge cost":                    {"consume", `{"feature":"x","cost":9007199254740993}`, 400, "cost"},
		"cost beyond int64":            {"consume", `{"feature":"x","cost":99999999999999999999}`, 400, "cost"},
		"fractional cost":              {"consume", `{"feature":"x","cost":1.5}`, 400, "cost"},
		"fraction that rounds":         {"consume", `{"feature":"x","cost":9007199254740992.5}`, 400, "cost"},
		"whole cost with fraction":     {"consume", `{"feature":"x","cost":1.0}`, 400, "cost"},
		"cost with exponent":           {"consume", `{"feature":"x","cost":1e3}`, 400, "cost"},
		"cost as string":               {"consume", `{"feature":"x","cost":"1"}`, 400, "cost"},
		"cost as boolean":              {"check", `{"feature":"x","cost":true}`, 400, "cost"},
		"unknown member":               {"consume", `{"feature":"x","costs":1}`, 400, "costs"},
		"unknown member that is null":  {"consume", `{"feature":"x","costs":null}`, 400, "costs"},
		"an endless member":            {"consume", `{"` + strings.Repeat("y", 100_000) + `":1}`, 400, strings.Repeat("y", 64)},
		"member in other case":         {"consume", `{"Feature":"x"}`, 400, "Feature"},
		"a key for a check":            {"check", `{"feature":"x","idempotencyKey":"k"}`, 400, "idempotencyKey"},
		"metadata for a check":         {"check", `{"feature":"x","metadata":{}}`, 400, "metadata"},
		"a time for consuming":         {"consume", `{"feature":"x","at":"2026-03-01T12:00:00Z"}`, 400, "at"},
		"an item for consuming":        {"consume", `{"feature":"x","item":"i"}`, 400, "item"},
		"cost of a seat":               {"gauges/add", `{"feature":"x","item":"i","cost":1}`, 400, "cost"},
		"no feature":                   {"check", `{}`, 400, "feature"},
		"feature is null":              {"check", `{"feature":null}`, 400, "feature"},
		"feature is empty":             {"check", `{"feature":""}`, 400, "feature"},
		"feature is a number":          {"check", `{"feature":7}`, 400, "feature"},
		"feature too long":             {"check", `{"feature":"` + long + `"}`, 400, "feature"},
		"feature with a control":       {"check", `{"feature":"a\u0000"}`, 400, "feature"},
		"subject is a string":          {"check", `{"feature":"x","subject":"alice"}`, 400, "subject"},
		"subject with another member":  {"check", `{"feature":"x","subject":{"userId":"alice"}}`, 400, "subject"},
		"user is a number":             {"check", `{"feature":"x","subject":{"user":7}}`, 400, "subject.user"},
		"user is empty":                {"check", `{"feature":"x","subject":{"user":""}}`, 400, "subject.user"},
		"team too long":                {"check", `{"feature":"x","subject":{"team":"` + long + `"}}`, 400, "subject.team"},
		"team with a line feed":        {"check", `{"feature":"x","subject":{"team":"a\nb"}}`, 400, "subject.team"},
		"attributes are an array":      {"check", `{"feature":"x","attributes":[]}`, 400, "attributes"},
		"too many attributes":          {"check", `{"feature":"x","attributes":{` + manyMembers(4097) + `}}`, 400, "attributes"},
		"key is empty":                 {"consume", `{"feature":"x","idempotencyKey":""}`, 400, "idempotencyKey"},
		"key not ASCII":                {"consume", `{"feature":"x","idempotencyKey":"schlüssel"}`, 400, "idempotencyKey"},
		"key too long":                 {"consume", `{"feature":"x","idempotencyKey":"` + long[:256] + `"}`, 400, "idempotencyKey"},
		"key is a number":              {"track", `{"feature":"x","idempotencyKey":1}`, 400, "idempotencyKey"},
		"metadata is a string":         {"consume", `{"feature":"x","metadata":"m"}`, 400, "metadata"},
		"metadata too large":           {"consume", `{"feature":"x","metadata":{"a":"` + strings.Repeat("x", 16<<10) + `"}}`, 400, "metadata"},
		"metadata with NUL":            {"consume", `{"feature":"x","metadata":{"a":[{"b":"\u0000"}]}}`, 400, "metadata"},
		"metadata with NUL in a name":  {"consume", `{"feature":"x","metadata":{"a\u0000":1}}`, 400, "metadata"},
		"metadata beyond numbers":      {"consume", `{"feature":"x","metadata":{"a":1e999}}`, 400, "metadata"},
		"metadata below numbers":       {"consume", `{"feature":"x","metadata":{"a":1e-999}}`, 400, "metadata"},
		"at is no time":                {"track", `{"feature":"x","at":"yesterday"}`, 400, "at"},
		"at is a number":               {"track", `{"feature":"x","at":1772366400}`, 400, "at"},
		"at too long ago":              {"track", `{"feature":"x","at":"2026-01-30T11:59:59Z"}`, 400, "at"},
		"at in the future":             {"track", `{"feature":"x","at":"2026-03-01T12:05:01Z"}`, 400, "at"},
		"no item":                      {"gauges/add", `{"feature":"x"}`, 400, "item"},
		"item is empty":                {"gauges/remove", `{"feature":"x","item":""}`, 400, "item"},
		"no items":                     {"gauges/replace", `{"feature":"x"}`, 400, "items"},
		"items of numbers":             {"gauges/replace", `{"feature":"x","items":[1]}`, 400, "items"},
		"items to add":                 {"gauges/add", `{"feature":"x","items":["i"]}`, 400, "items"},
		"too many items":               {"gauges/replace", `{"feature":"x","items":["` + strings.Repeat(`a","`, 10_000) + `a"]}`, 400, "items"},
		"equal members":                {"consume", `{"feature":"x","cost":1,"cost":2}`, 400, ""},
		"equal members deeper":         {"consume", `{"feature":"x","metadata":{"a":1,"a":1}}`, 400, ""},
		"no body":                      {"check", ``, 400, ""},
		"spaces":                       {"check", `  `, 400, ""},
		"not JSON":                     {"check", `{"feature":`, 400, ""},
		"trailing text":                {"check", `{"feature":"x"} x`, 400, ""},
		"not an object":                {"check", `["x"]`, 400, ""},
		"null":                         {"check", `null`, 400, ""},
		"too deep":                     {"check", `{"feature":"x","attributes":{"a":` + deep + `}}`, 400, ""},
		"not UTF-8":                    {"check", "{\"feature\":\"\xff\"}", 400, ""},
		"half a character":             {"check", `{"feature":"x","subject":{"user":"\ud800"}}`, 400, ""},
		"the other half":               {"check", `{"feature":"x","metadata":{"a":"\udc00\ud800"}}`, 400, ""},
		"half and another escape":      {"check", `{"feature":"x","subject":{"user":"\ud83d\n"}}`, 400, ""},
		"an escape of nothing":         {"check", `{"feature":"\q"}`, 400, ""},
		"a short escape":               {"check", `{"feature":"\u12"}`, 400, ""},
		"too large":                    {"check", `{"feature":"` + strings.Repeat("x", 1_000_001) + `"}`, 413, ""},
		"a batch of too many":          {"batch/check", `{"items":[` + strings.Repeat(`{"feature":"x"},`, 100) + `{"feature":"x"}]}`, 400, "items"},
		"a batch without items":        {"batch/check", `{}`, 400, "items"},
		"a batch that is one question": {"batch/check", `{"feature":"x"}`, 400, "feature"},
		"a batch of an object":         {"batch/check", `{"items":{}}`, 400, "items"},
		"half an encoded byte":         {"check?reflect=%z1", `{"feature":"x"}`, 400, ""},
		"unknown parameter":            {"check?reflekt=1", `{"feature":"x"}`, 400, "reflekt"},
		"a parameter of another door":  {"check?mode=consume", `{"feature":"x"}`, 400, "mode"},
		"reflect is yes":               {"check?reflect=yes", `{"feature":"x"}`, 400, "reflect"},
		"a batch that reflects":        {"batch/check?reflect=1", `{"items":[]}`, 400, "reflect"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ask(t, addr, post("/v1/"+tc.path, tc.body))
			f := readFault(t, got)
			if got.status != tc.status || f.Field != tc.field {
				t.Errorf("%d %s, want %d and field %q", got.status, got.body, tc.status, tc.field)
			}
			if r := got.header.Get("Tiergate-Revision"); r != "01234567-7" {
				t.Errorf("Tiergate-Revision %q", r)
			}
		})
	}
	if len(g.uses) != 0 {
		t.Errorf("the gate was asked %q", g.uses)
	}
}

// Escapes are the characters that they stand for.
func TestQuestion_escapes(t *testing.T) {
	addr, g := serve(t, nil)
	got := ask(t, addr, post("/v1/check", `{"feature":"\u0061\/\\u","subject":{"user":"j\u00fcrgen \ud83d\ude00"},"attributes":{"a\"":"\b\f\n\r\t"}}`))
	if want := `check default/a/\u by jürgen 😀 of - cost 0`; got.status != 200 || len(g.uses) != 1 || g.uses[0] != want {
		t.Errorf("%d, the gate was asked %q, want %q", got.status, g.uses, want)
	}
}

func manyMembers(n int) string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"k%d":0`, i)
	}
	return strings.Join(members, ",")
}

// What cannot be asked, by method, path, host or encoding, and what the gate refuses, has its
// own problem each.
func TestErrors(t *testing.T) {
	var log bytes.Buffer
	addr, _ := serve(t, func(cfg *decision.Config) { cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	x := `{"feature":"x"}`
	for name, tc := range map[string]struct {
		raw    string
		status int
		code   string
		header string // one that is there
	}{
		"GET":                    {request("GET", "/v1/check", ""), 405, "method_not_allowed", "Allow: POST"},
		"POST of a description":  {post("/v1/openapi.yaml", x), 405, "method_not_allowed", "Allow: GET, HEAD"},
		"OPTIONS":                {request("OPTIONS", "/v1/consume", ""), 405, "method_not_allowed", "Allow: POST"},
		"no such resource":       {post("/v1/eat", x), 404, "not_found", ""},
		"almost a resource":      {post("/v1/check/", x), 404, "not_found", ""},
		"the root":               {post("/v1/", x), 404, "not_found", ""},
		"no reservations here":   {post("/v1/reservations", x), 404, "not_found", ""},
		"a body in gzip":         {post("/v1/check", "\x1f\x8b", "Content-Encoding: gzip"), 415, "encoded", ""},
		"another host":           {strings.Replace(post("/v1/check", x), "Host: localhost", "Host: evil.example", 1), 421, "wrong_host", ""},
		"a page of another site": {post("/v1/consume", x, "Origin: https://evil.example"), 403, "forbidden", ""},
		"a large header":         {post("/v1/check", x, "X-Long: "+strings.Repeat("x", 9<<10)), 431, "header_too_large", ""},
		"malformed revision":     {post("/v1/check", x, "Tiergate-Min-Revision: seven"), 400, "invalid", ""},
		"revision ahead":         {post("/v1/check", x, "Tiergate-Min-Revision: 01234567-8"), 503, "unavailable", "Retry-After: 1"},
		"revision elsewhere":     {post("/v1/check", x, "Tiergate-Min-Revision: ffffffff-1"), 412, "stale", ""},
		"the key is running":     {post("/v1/consume", `{"feature":"running","idempotencyKey":"k"}`), 409, "conflict", "Retry-After: 1"},
		"the key was used":       {post("/v1/consume", `{"feature":"reused","idempotencyKey":"k"}`), 422, "key_reused", ""},
		"nothing loaded":         {post("/v1/check", `{"feature":"loading"}`), 503, "unavailable", "Retry-After: 1"},
		"broken":                 {post("/v1/check", `{"feature":"broken"}`), 500, "internal", ""},
		"panic":                  {post("/v1/check", `{"feature":"panics"}`), 500, "internal", ""},
		"panic in a batch":       {post("/v1/batch/track", `{"items":[{"feature":"x"},{"feature":"panics"},{"feature":"x"}]}`), 500, "internal", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ask(t, addr, tc.raw)
			f := readFault(t, got)
			if got.status != tc.status || f.Code != tc.code {
				t.Errorf("%d %s, want %d %s", got.status, got.body, tc.status, tc.code)
			}
			if name, value, _ := strings.Cut(tc.header, ": "); got.header.Get(name) != value && name != "" {
				t.Errorf("%s is %q, want %q", name, got.header.Get(name), value)
			}
			if strings.Contains(got.body, "hunter2") {
				t.Error("a caller is told what operators should know only")
			}
		})
	}
	if !strings.Contains(log.String(), "hunter2") {
		t.Errorf("operators are not told what is broken: %s", log.String())
	}
}

// Before anything has been loaded nothing is decided, and the description is there all the same.
func TestNotReady(t *testing.T) {
	addr, g := serve(t, func(cfg *decision.Config) { cfg.Evaluator = inForce{} })
	for _, path := range []string{"check", "consume", "batch/track", "gauges/add"} {
		got := ask(t, addr, post("/v1/"+path, `{"feature":"x"}`))
		if f := readFault(t, got); got.status != 503 || f.Code != "unavailable" || got.header.Get("Retry-After") != "1" {
			t.Errorf("%s: %+v", path, got)
		}
	}
	if got := ask(t, addr, request("GET", "/v1/openapi.yaml", "")); got.status != 200 || !strings.HasPrefix(got.body, "openapi: 3.1") {
		t.Errorf("the description: %d %.100s", got.status, got.body)
	}
	if len(g.uses) != 0 {
		t.Errorf("the gate was asked %q", g.uses)
	}
}

// Data that is too old says so in each answer.
func TestStale_is_said(t *testing.T) {
	addr, _ := serve(t, func(cfg *decision.Config) {
		cfg.AsOf, cfg.StaleAfter = func() time.Time { return now.Add(-16 * time.Second) }, 15*time.Second
	})
	for path, body := range map[string]string{"check": `{"feature":"x"}`, "batch/consume": `{"items":[{"feature":"x"}]}`} {
		if got := ask(t, addr, post("/v1/"+path, body)); got.status != 200 || !strings.Contains(got.body, `"stale":true`) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

// With API keys the team is the key's, whatever the question says; a key needs the scope for
// what it asks, and may be limited to a flag set.
func TestCredential(t *testing.T) {
	keys := map[string]*tiergate.Key{
		"evaluates": {ID: "e", TeamID: "acme", Scopes: []string{tiergate.ScopeEvaluate}},
		"consumes":  {ID: "c", TeamID: "globex", Scopes: []string{tiergate.ScopeConsume}},
		"sets":      {ID: "s", TeamID: "acme", Scopes: []string{tiergate.ScopeConsume}, Sets: []string{"web"}},
		"other":     {ID: "o", TeamID: "acme", Scopes: []string{"training:work"}},
	}
	addr, g := serve(t, func(cfg *decision.Config) {
		cfg.Credential = func(text string) (*tiergate.Key, error) {
			if k := keys[text]; k != nil {
				return k, nil
			}
			return nil, tiergate.Errorf(tiergate.Unauthorized, "no")
		}
	})
	const mallory = `{"feature":"x","subject":{"user":"bob","team":"initech"}}`
	for name, tc := range map[string]struct {
		path, body, key string
		status          int
		asked           string
	}{
		"nobody":                      {"check", mallory, "", 401, ""},
		"unknown":                     {"check", mallory, "stolen", 401, ""},
		"evaluating":                  {"check", mallory, "evaluates", 200, "check default/x by bob of acme cost 0"},
		"evaluating is not consuming": {"consume", mallory, "evaluates", 403, ""},
		"nor tracking":                {"batch/track", `{"items":[]}`, "evaluates", 403, ""},
		"nor seats":                   {"gauges/add", mallory, "evaluates", 403, ""},
		"nor through a proxy":         {"auth/forward?feature=x&mode=consume", "", "evaluates", 500, ""},
		"evaluating through a proxy":  {"auth/forward?feature=x&user=bob&team=initech", "", "evaluates", 204, "check default/x by bob of acme cost 0"},
		"consuming":                   {"consume", mallory, "consumes", 200, "consume default/x by bob of globex cost 0"},
		"consuming checks too":        {"check", mallory, "consumes", 200, "check default/x by bob of globex cost 0"},
		"another scope":               {"check", mallory, "other", 403, ""},
		"its only set":                {"check", mallory, "sets", 200, "check web/x by bob of acme cost 0"},
		"another set":                 {"check", `{"feature":"x","set":"api"}`, "sets", 403, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g.uses = nil
			var headers []string
			if tc.key != "" {
				headers = []string{"Authorization: Bearer " + tc.key}
			}
			got := ask(t, addr, post("/v1/"+tc.path, tc.body, headers...))
			if got.status != tc.status {
				t.Errorf("%d %s, want %d", got.status, got.body, tc.status)
			}
			if (got.status == 401) != (got.header.Get("WWW-Authenticate") != "") {
				t.Errorf("WWW-Authenticate is %q", got.header.Get("WWW-Authenticate"))
			}
			if asked := strings.Join(g.uses, ";"); asked != tc.asked {
				t.Errorf("asked %q, want %q", asked, tc.asked)
			}
		})
	}
}

// A page that may ask may consume, and reads the headers about limits.
func TestCORS_lets_listed_pages_consume(t *testing.T) {
	d, _ := door(nil)
	addr := serveApp(t, server.NewApp(server.Config{CORSOrigins: []string{"https://app.example"}}, d))
	got := ask(t, addr, post("/v1/consume", `{"feature":"x"}`, "Origin: https://app.example"))
	exposed := got.header.Get("Access-Control-Expose-Headers")
	if got.status != 200 || !strings.Contains(exposed, "RateLimit, RateLimit-Policy") {
		t.Errorf("%d %s, exposed %q", got.status, got.body, exposed)
	}
	if got := ask(t, addr, post("/v1/consume", `{"feature":"x"}`, "Origin: https://evil.example")); got.status != 403 {
		t.Errorf("another page: %d %s", got.status, got.body)
	}
}

// The same question has the same fingerprint however it is written, and another one for
// anything that makes it another question.
func TestFingerprint_is_of_the_question(t *testing.T) {
	seen := map[string]string{}
	addr, g := serve(t, nil)
	print := func(path, body string) string {
		got := ""
		g.say = func(_ string, u *tiergate.Use) (tiergate.Verdict, error) {
			got = strings.Clone(u.Fingerprint)
			return tiergate.Verdict{Reason: tiergate.UseAllowed}, nil
		}
		if a := ask(t, addr, post("/v1/"+path, body)); a.status != 200 || got == "" {
			t.Fatalf("%s %s: %d %s, fingerprint %q", path, body, a.status, a.body, got)
		}
		return got
	}
	base := `{"feature":"x","subject":{"user":"u","team":"t"},"attributes":{"a":1,"b":[{}]},"cost":2,"idempotencyKey":"k","metadata":{"m":1,"n":2}}`
	first := print("consume", base)
	for _, same := range []string{
		`{ "metadata":{"n":2,"m":1} ,"cost":2,"idempotencyKey":"another","attributes":{"b":[{}],"a":1},"subject":{"team":"t","user":"u"},"feature":"x"}`,
		`{"feature":"\u0078","subject":{"user":"u","team":"t"},"attributes":{"a":1,"b":[{}]},"cost":2,"idempotencyKey":"k","metadata":{"m":1,"n":2},"set":"default"}`,
	} {
		if got := print("consume", same); got != first {
			t.Errorf("%s has another fingerprint", same)
		}
	}
	seen[first] = base
	for _, change := range [][2]string{
		{`"feature":"x"`, `"feature":"y"`},
		{`"user":"u"`, `"user":"v"`},
		{`"team":"t"`, `"team":null`},
		{`"a":1`, `"a":"1"`},
		{`"user":"u","team":"t"`, `"user":"ut"`},
		{`"b":[{}]`, `"b":[]`},
		{`"cost":2`, `"cost":3`},
		{`"cost":2,`, ``},
		{`"m":1`, `"m":2`},
		{`,"metadata":{"m":1,"n":2}`, ``},
		{`"cost":2`, `"cost":2,"set":"web"`},
	} {
		body := strings.Replace(base, change[0], change[1], 1)
		got := print("consume", body)
		if other, ok := seen[got]; ok {
			t.Errorf("%s has the fingerprint of %s", body, other)
		}
		seen[got] = body
	}
	for _, tracked := range []string{base, strings.Replace(base, `"cost"`, `"at":"2026-03-01T11:00:00Z","cost"`, 1)} {
		got := print("track", tracked)
		if other, ok := seen[got]; ok {
			t.Errorf("tracking %s has the fingerprint of %s", tracked, other)
		}
		seen[got] = tracked
	}
}
