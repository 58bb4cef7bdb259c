package ofrep_test

import (
	"encoding/json"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/tiergate/tiergate/server/ofrep"
)

// Whatever the body is, there is no panic and the answer is JSON of the right form.
func FuzzOFREPBody(f *testing.F) {
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `{"context":null}`, `{"context":{}}`, `{"context":{"targetingKey":"alice","teamId":"acme"}}`,
		`{"context":{"targetingKey":7}}`, `{"context":[1]}`, `{"context":{"a":1e999,"b":-0.0,"c":9007199254740993}}`,
		`{"context":{"a":"\ud800","b":"\u0000","a":{"a":[[[[]]]]}}}`, `{"context":`, "{\"context\":{\"a\":\"\xff\"}}", `{"context":{}} x`,
	} {
		f.Add([]byte(body), "on", "")
		f.Add([]byte(body), "", `W/"x", *`)
	}
	f.Add([]byte(`{}`), `a%2Fb"\`, "")
	gen := demo()
	delete(gen.sets["default"], "panics")
	handler := appOf(ofrep.Config{Evaluator: fakeOf(gen)}).Server().Handler
	f.Fuzz(func(t *testing.T, body []byte, key, tags string) {
		var req fasthttp.Request
		req.Header.SetMethod(fasthttp.MethodPost)
		req.Header.SetRequestURI(flags)
		if key != "" {
			req.Header.SetRequestURI(flags + "/" + key)
		}
		req.Header.SetHost("localhost")
		req.Header.Set("If-None-Match", tags)
		req.SetBody(body)
		var ctx fasthttp.RequestCtx
		ctx.Init(&req, nil, nil)
		handler(&ctx)
		checkForm(t, ctx.Response.StatusCode(), ctx.Response.Body())
	})
}

// checkForm demands that an answer is one of the forms that OFREP has.
func checkForm(t *testing.T, status int, body []byte) {
	t.Helper()
	if status == fasthttp.StatusNotModified && len(body) == 0 {
		return
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("status %d: %q is not a JSON object: %v", status, body, err)
	}
	var need []string
	switch {
	case status != fasthttp.StatusOK:
		need = []string{"key", "errorCode", "errorDetails", "metadata"}
	case got["flags"] != nil:
		need = []string{"metadata"}
	default:
		need = []string{"key", "reason", "variant", "metadata"}
	}
	for _, member := range need {
		if got[member] == nil {
			t.Fatalf("status %d: %s lacks %s", status, body, member)
		}
	}
	if status >= 500 {
		t.Fatalf("status %d: %s", status, body)
	}
}
