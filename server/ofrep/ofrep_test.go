package ofrep_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate/server/ofrep"
)

// answer is one HTTP answer, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// exchange sends raw bytes and reads n answers.
func exchange(t *testing.T, addr, raw string, n int) []answer {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	sent := make(chan struct{})
	go func() { // a refused body may end the sending early
		defer close(sent)
		_, _ = io.WriteString(c, raw)
	}()
	var answers []answer
	r := bufio.NewReader(c)
	for range n {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("read answer %d of %.200q: %v", len(answers)+1, raw, err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatalf("read body of answer %d of %.200q: %v", len(answers)+1, raw, err)
		}
		answers = append(answers, answer{res.StatusCode, res.Header, string(body)})
	}
	_ = c.Close()
	<-sent
	return answers
}

// post makes a request; headers are whole lines.
func post(path, body string, headers ...string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s",
		path, len(body), strings.Join(append(headers, ""), "\r\n"), body)
}

const (
	flags = "/ofrep/v1/evaluate/flags"
	rev   = `"revision":"01234567-7"`
)

// Each way to ask about one flag gets the answer that providers understand.
func TestSingle_answers(t *testing.T) {
	addr := serve(t, appOf(ofrep.Config{Evaluator: fakeOf(demo())}))
	alice := `{"context":{"targetingKey":"alice","teamId":"acme"}}`
	for name, tc := range map[string]struct {
		request, want string
		status        int
	}{
		"a boolean":            {post(flags+"/on", alice), `{"key":"on","reason":"STATIC","variant":"on","value":true,"metadata":{` + rev + `}}`, 200},
		"a string":             {post(flags+"/blue", alice), `{"key":"blue","reason":"STATIC","variant":"blue","value":"#00f","metadata":{` + rev + `}}`, 200},
		"an integer":           {post(flags+"/int", alice), `{"key":"int","reason":"STATIC","variant":"ten","value":10,"metadata":{` + rev + `}}`, 200},
		"a float":              {post(flags+"/float", alice), `{"key":"float","reason":"STATIC","variant":"ten","value":10.0,"metadata":{` + rev + `}}`, 200},
		"an object":            {post(flags+"/object", alice), `{"key":"object","reason":"STATIC","variant":"o","value":{"models":["a","b"],"max":3},"metadata":{` + rev + `}}`, 200},
		"disabled":             {post(flags+"/disabled", alice), `{"key":"disabled","reason":"DISABLED","variant":"","metadata":{` + rev + `}}`, 200},
		"code default":         {post(flags+"/code", alice), `{"key":"code","reason":"DEFAULT","variant":"","metadata":{` + rev + `}}`, 200},
		"denied":               {post(flags+"/denied", alice), `{"key":"denied","reason":"TARGETING_MATCH","variant":"off","value":false,"metadata":{` + rev + `,"tier":"free","denied":true,"denyReason":"tier","upgrade":"pro"}}`, 200},
		"own metadata":         {post(flags+"/meta", alice), `{"key":"meta","reason":"STATIC","variant":"on","value":true,"metadata":{` + rev + `,"frontier":1,"owner":"web"}}`, 200},
		"the ids":              {post(flags+"/who", alice), `{"key":"who","reason":"TARGETING_MATCH","variant":"you","value":"alice of acme","metadata":{` + rev + `,"tier":"free"}}`, 200},
		"many attributes":      {post(flags+"/on", `{"context":{`+manyMembers(4096)+`}}`), `{"key":"on","reason":"STATIC","variant":"on","value":true,"metadata":{` + rev + `}}`, 200},
		"no body":              {post(flags+"/who", ""), `{"key":"who","reason":"TARGETING_MATCH","variant":"you","value":"nobody of no team","metadata":{` + rev + `,"tier":"free"}}`, 200},
		"no length":            {"POST " + flags + "/on HTTP/1.1\r\nHost: localhost\r\n\r\n", `{"key":"on","reason":"STATIC","variant":"on","value":true,"metadata":{` + rev + `}}`, 200},
		"empty object":         {post(flags+"/on", "{}"), `{"key":"on","reason":"STATIC","variant":"on","value":true,"metadata":{` + rev + `}}`, 200},
		"null context":         {post(flags+"/on", `{"context":null}`), `{"key":"on","reason":"STATIC","variant":"on","value":true,"metadata":{` + rev + `}}`, 200},
		"null body":            {post(flags+"/on", ` null `), `{"key":"on","reason":"STATIC","variant":"on","value":true,"metadata":{` + rev + `}}`, 200},
		"no targetingKey":      {post(flags+"/who", `{"context":{"a":[1,{"b":null}]}}`), `{"key":"who","reason":"TARGETING_MATCH","variant":"you","value":"nobody of no team","metadata":{` + rev + `,"tier":"free"}}`, 200},
		"null targetingKey":    {post(flags+"/who", `{"context":{"targetingKey":null}}`), `{"key":"who","reason":"TARGETING_MATCH","variant":"you","value":"nobody of no team","metadata":{` + rev + `,"tier":"free"}}`, 200},
		"encoded name":         {post(flags+"/a%2Fb%20c", alice), `{"key":"a/b c","reason":"STATIC","variant":"on","value":true,"metadata":{` + rev + `}}`, 200},
		"half-encoded name":    {post(flags+"/a/b%20c", alice), `{"key":"a/b c","reason":"STATIC","variant":"on","value":true,"metadata":{` + rev + `}}`, 200},
		"percent unencoded":    {post(flags+"/100%", alice), `{"key":"100%","reason":"STATIC","variant":"on","value":true,"metadata":{` + rev + `}}`, 200},
		"unicode encoded":      {post(flags+"/gr%C3%B6%c3%9fe", alice), `{"key":"größe","reason":"STATIC","variant":"on","value":true,"metadata":{` + rev + `}}`, 200},
		"unicode unencoded":    {post(flags+"/größe", alice), `{"key":"größe","reason":"STATIC","variant":"on","value":true,"metadata":{` + rev + `}}`, 200},
		"absolute target":      {post("http://localhost"+flags+"/on", alice), `{"key":"on","reason":"STATIC","variant":"on","value":true,"metadata":{` + rev + `}}`, 200},
		"chunked body":         {"POST " + flags + "/who HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n23\r\n{\"context\":{\"targetingKey\":\"alice\"}\r\n1\r\n}\r\n0\r\n\r\n", `{"key":"who","reason":"TARGETING_MATCH","variant":"you","value":"alice of no team","metadata":{` + rev + `,"tier":"free"}}`, 200},
		"no encoding, named":   {post(flags+"/on", "{}", "Content-Encoding: Identity"), `{"key":"on","reason":"STATIC","variant":"on","value":true,"metadata":{` + rev + `}}`, 200},
		"another type of body": {"POST " + flags + "/on HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 2\r\n\r\n{}", `{"key":"on","reason":"STATIC","variant":"on","value":true,"metadata":{` + rev + `}}`, 200},
	} {
		t.Run(name, func(t *testing.T) {
			got := exchange(t, addr, tc.request, 1)[0]
			if got.status != tc.status || got.body != tc.want {
				t.Errorf("status %d, body %s\nwant %d, %s", got.status, got.body, tc.status, tc.want)
			}
			if ct := got.header.Get("Content-Type"); ct != "application/json" {
				t.Errorf("Content-Type %q", ct)
			}
			if r := got.header.Get("Tiergate-Revision"); r != "01234567-7" {
				t.Errorf("Tiergate-Revision %q", r)
			}
		})
	}
}

// failure is what each error says, whatever its status.
type failure struct {
	Key          *string         `json:"key"`
	ErrorCode    *string         `json:"errorCode"`
	ErrorDetails *string         `json:"errorDetails"`
	Metadata     *map[string]any `json:"metadata"`
}

// readFailure reads an error body and demands that all of it is there.
func readFailure(t *testing.T, got answer) (key, code string) {
	t.Helper()
	var f failure
	dec := json.NewDecoder(strings.NewReader(got.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		t.Fatalf("the error %d %q is not as it should be: %v", got.status, got.body, err)
	}
	if f.Key == nil || f.ErrorCode == nil || f.ErrorDetails == nil || f.Metadata == nil || *f.ErrorDetails == "" {
		t.Fatalf("the error %q lacks key, errorCode, errorDetails or metadata", got.body)
	}
	if ct := got.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q", ct)
	}
	return *f.Key, *f.ErrorCode
}

// Each request that cannot be answered gets an error as JSON with all its members.
func TestErrors_are_JSON_with_key_and_code(t *testing.T) {
	addr := serve(t, appOf(ofrep.Config{Evaluator: fakeOf(demo())}))
	type want struct {
		status int
		key    string
		code   string
	}
	for name, tc := range map[string]struct {
		request string
		want    want
	}{
		"unknown flag":           {post(flags+"/nope", "{}"), want{404, "nope", "FLAG_NOT_FOUND"}},
		"unknown flag, odd name": {post(flags+"/a%22%5C%ffb", "{}"), want{404, "a\"\\\ufffdb", "FLAG_NOT_FOUND"}},
		"broken flag":            {post(flags+"/broken", "{}"), want{400, "broken", "PARSE_ERROR"}},
		"panic":                  {post(flags+"/panics", "{}"), want{500, "panics", "GENERAL"}},
		"malformed":              {post(flags+"/on", `{"context":`), want{400, "on", "PARSE_ERROR"}},
		"not an object":          {post(flags+"/on", `[]`), want{400, "on", "PARSE_ERROR"}},
		"trailing text":          {post(flags+"/on", `{} x`), want{400, "on", "PARSE_ERROR"}},
		"NaN":                    {post(flags+"/on", `{"context":{"a":NaN}}`), want{400, "on", "PARSE_ERROR"}},
		"too deep":               {post(flags+"/on", `{"context":`+strings.Repeat("[", 200)+strings.Repeat("]", 200)+`}`), want{400, "on", "PARSE_ERROR"}},
		"not UTF-8":              {post(flags+"/on", "{\"context\":{\"a\":\"\xff\"}}"), want{400, "on", "PARSE_ERROR"}},
		"context is a string":    {post(flags+"/on", `{"context":"alice"}`), want{400, "on", "INVALID_CONTEXT"}},
		"context is an array":    {post(flags+"/on", `{"context":[]}`), want{400, "on", "INVALID_CONTEXT"}},
		"too many attributes":    {post(flags+"/on", `{"context":{`+manyMembers(4097)+`}}`), want{400, "on", "INVALID_CONTEXT"}},
		"targetingKey a number":  {post(flags+"/on", `{"context":{"targetingKey":7}}`), want{400, "on", "INVALID_CONTEXT"}},
		"teamId an object":       {post(flags+"/on", `{"context":{"teamId":{}}}`), want{400, "on", "INVALID_CONTEXT"}},
		"bulk malformed":         {post(flags, `{`), want{400, "", "PARSE_ERROR"}},
		"bulk bad context":       {post(flags+"/", `{"context":1}`), want{400, "", "INVALID_CONTEXT"}},
		"bulk panic":             {post(flags, `{}`), want{500, "", "GENERAL"}},
		"gzip":                   {post(flags+"/on", "\x1f\x8b", "Content-Encoding: gzip"), want{415, "on", "GENERAL"}},
		"selector by source":     {post(flags, "{}", "Flagd-Selector: source=x"), want{400, "", "GENERAL"}},
		"bare selector":          {post(flags, "{}", "Flagd-Selector: x"), want{400, "", "GENERAL"}},
		"two selectors":          {post(flags, "{}", "Flagd-Selector: flagSetId=a=b"), want{400, "", "GENERAL"}},
		"GET":                    {"GET " + flags + "/on HTTP/1.1\r\nHost: localhost\r\n\r\n", want{405, "on", "GENERAL"}},
		"control character":      {post(flags+"/o\x06n", "{}"), want{400, "", "PARSE_ERROR"}},
		"no such resource":       {post("/ofrep/v1/configuration", "{}"), want{404, "", "GENERAL"}},
		"almost the path":        {post(flags+"x", "{}"), want{404, "", "GENERAL"}},
		"wrong host":             {strings.Replace(post(flags+"/on", "{}"), "Host: localhost", "Host: evil.example:8016", 1), want{421, "on", "GENERAL"}},
		"min revision malformed": {post(flags+"/on", "{}", "Tiergate-Min-Revision: seven"), want{400, "on", "GENERAL"}},
		"min revision ahead":     {post(flags+"/on", "{}", "Tiergate-Min-Revision: 01234567-8"), want{503, "on", "GENERAL"}},
		"min revision elsewhere": {post(flags+"/on", "{}", "Tiergate-Min-Revision: ffffffff-1"), want{412, "on", "GENERAL"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := exchange(t, addr, tc.request, 1)[0]
			key, code := readFailure(t, got)
			if diff := cmp.Diff(tc.want, want{got.status, key, code}, cmp.AllowUnexported(want{})); diff != "" {
				t.Errorf("answer mismatch (-want +got):\n%s%s", diff, got.body)
			}
		})
	}
}

// manyMembers are n members of an object.
func manyMembers(n int) string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"k%d":0`, i)
	}
	return strings.Join(members, ",")
}

// Before the first state each question is answered with "not ready", and when to ask again.
func TestNotReady(t *testing.T) {
	addr := serve(t, appOf(ofrep.Config{Evaluator: new(fake)}))
	for _, path := range []string{flags, flags + "/on"} {
		got := exchange(t, addr, post(path, "{}"), 1)[0]
		if _, code := readFailure(t, got); got.status != 503 || code != "PROVIDER_NOT_READY" || got.header.Get("Retry-After") != "1" {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

// Several requests sent at once on one connection are answered in order.
func TestPipelining_keeps_order(t *testing.T) {
	addr := serve(t, appOf(ofrep.Config{Evaluator: fakeOf(demo())}))
	got := exchange(t, addr, post(flags+"/int", "{}")+post(flags+"/nope", "{}")+post(flags+"/blue", "{}"), 3)
	for i, want := range []string{`"value":10`, "FLAG_NOT_FOUND", `"#00f"`} {
		if !strings.Contains(got[i].body, want) {
			t.Errorf("answer %d is %s, want one with %s", i, got[i].body, want)
		}
	}
}
