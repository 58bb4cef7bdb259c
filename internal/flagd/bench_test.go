package flagd_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/tiergate/tiergate/internal/flagd"
)

func fileOf(flags int) []byte {
	var b bytes.Buffer
	b.WriteString("{\"flags\": {")
	for i := range flags {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `
	"flag-%d": {
		"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on",
		"targeting": {"if": [{"==": [{"var": "plan"}, "pro"]}, "on", "off"]}
	}`, i)
	}
	b.WriteString("}}")
	return b.Bytes()
}

func BenchmarkParse(b *testing.B) {
	for _, flags := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(flags), func(b *testing.B) {
			file := fileOf(flags)
			b.SetBytes(int64(len(file)))
			b.ReportAllocs()
			for b.Loop() {
				if f, err := flagd.Parse(file); err != nil || len(f.Flags) != flags {
					b.Fatal(len(f.Flags), err)
				}
			}
		})
	}
}

// No bytes make Parse panic; what it takes for JSON is JSON, and its flags are valid.
func FuzzParse(f *testing.F) {
	for _, doc := range []string{
		string(fileOf(2)), `{"flags":[{"key":"a","state":"DISABLED","variants":{"x":{"y":[1]}},"metadata":{"flagSetId":"s"}}],"metadata":{"v":1}}`,
		`{"flags":{"a":{"state":"ENABLED","variants":{"\u00e9\ud83d":1e9},"targeting":{"$ref":"e"}}},"$evaluators":{"e":true}}`,
		"flags:\n  a: &x {state: ENABLED, variants: {on: true}}\n  b: *x\n", "a: &x [*x]", "{\"flags\":{\"a\":\x01", `{"flags":{}} {}`,
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := flagd.Parse(data)
		if err != nil {
			return
		}
		if text := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\ufeff"))); text[0] == '{' && !json.Valid(text) {
			t.Errorf("Parse takes %q for JSON", data)
		}
		for i := range file.Flags {
			if err := file.Flags[i].Validate(); err != nil {
				t.Errorf("a flag of %q is not valid: %v", data, err)
			}
		}
	})
}
