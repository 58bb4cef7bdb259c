package admin_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate/admin"
)

// A body that two readers could read differently is refused, and says where.
func TestJSON_strict(t *testing.T) {
	for doc, want := range map[string]string{
		`{}`: "", ` [1, "a", null] `: "", `"x"`: "", `{"a":{"a":1},"b":[{"a":1},{"a":2}]}`: "", `{"a":"\ud83d\ude00 \\u0000 \u00e9"}`: "",
		`{"a":1,"a":2}`:                          "twice",
		`{"a":1,"\u0061":2}`:                     "twice",
		`[{"b":{"a":1,"a":2}}]`:                  "twice",
		`{"a":[],"a":[]}`:                        "twice",
		`{}{}`:                                   "more after",
		`{}}`:                                    "not JSON",
		`1 2`:                                    "more after",
		`{"a":`:                                  "not JSON",
		`[1,]`:                                   "not JSON",
		`{a:1}`:                                  "not JSON",
		`[01]`:                                   "not JSON",
		`[NaN]`:                                  "not JSON",
		"\"\xc3\x28\"":                           "UTF-8",
		`"\u0000"`:                               "NUL",
		`"\ud800"`:                               "surrogate",
		`"\udc00x"`:                              "surrogate",
		`"\ud800\u0041"`:                         "surrogate",
		`"\ud800\ud800"`:                         "surrogate",
		`{"a` + "\ufdd0" + `b":1}`:               "no character",
		strings.Repeat("[", 65):                  "deeper",
		strings.Repeat(`{"a":`, 65):              "deeper",
		`{"a":"` + strings.Repeat("x", 20) + `"`: "not JSON",
	} {
		err := admin.CheckJSON([]byte(doc))
		if want == "" && err != nil {
			t.Errorf("%s is refused: %v", doc, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.60q: error %v, want one about %q", doc, err, want)
		}
	}
}

// The examples of RFC 7396, appendix A.
func TestMerge_examples_of_the_standard(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		got, err := admin.Merge(json.RawMessage(c[0]), json.RawMessage(c[1]))
		if err != nil {
			t.Errorf("%s with %s: %v", c[0], c[1], err)
			continue
		}
		var g, w any
		if json.Unmarshal(got, &g) != nil || json.Unmarshal([]byte(c[2]), &w) != nil || !cmp.Equal(g, w) {
			t.Errorf("%s with %s is %s, want %s", c[0], c[1], got, c[2])
		}
	}
}

// The strict reading accepts nothing that encoding/json refuses and never panics.
func FuzzJSON(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		if admin.CheckJSON(data) == nil && !json.Valid(data) && strings.TrimSpace(string(data)) != "" {
			t.Errorf("%q is accepted and is not JSON", data)
		}
	})
}
