package flagd_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/flagd"
)

// A good file yields its set and its flags, served to everybody.
func TestParse(t *testing.T) {
	f, err := flagd.Parse([]byte(`{
		"$schema": "https://flagd.dev/schema/v0/flags.json",
		"metadata": {"flagSetId": "shop", "version": "v7"},
		"flags": {
			"banner": {
				"state": "ENABLED", "defaultVariant": "on", "description": "the banner",
				"variants": {"on": true, "no": false, "also-no": false},
				"targeting": {"if": [{"$ref": "staff"}, "on", null]},
				"metadata": {"owner": "web", "weight": 2}
			},
			"theme": {"state": "DISABLED", "defaultVariant": null, "variants": {"a": { "x": [1, 2] }}, "metadata": {"flagSetId": "looks"}}
		},
		"$evaluators": {"staff": {"ends_with": [{"var": "email"}, "@shop.example"]}}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	shared := map[string]json.RawMessage{"staff": json.RawMessage(`{"ends_with": [{"var": "email"}, "@shop.example"]}`)}
	metadata := map[string]any{"flagSetId": "shop", "version": "v7"}
	want := flagd.File{
		Sets: []tiergate.FlagSet{
			{Name: "shop", Evaluators: shared, Metadata: metadata},
			{Name: "looks", Evaluators: shared, Metadata: metadata},
		},
		Flags: []tiergate.Flag{
			{
				ID: "shop/banner", Set: "shop", Name: "banner", Description: "the banner", Type: tiergate.Boolean, Enabled: true,
				Variants:       map[string]json.RawMessage{"on": []byte("true"), "no": []byte("false"), "also-no": []byte("false")},
				DefaultVariant: "on", OffVariant: "also-no",
				Rules:    tiergate.Rules{Tiers: []string{}, Percentage: 100, Targeting: []byte(`{"if": [{"$ref": "staff"}, "on", null]}`)},
				Metadata: map[string]any{"owner": "web", "weight": 2.0},
			},
			{
				ID: "looks/theme", Set: "looks", Name: "theme", Type: tiergate.Object,
				Variants: map[string]json.RawMessage{"a": []byte(`{"x":[1,2]}`)},
				Rules:    tiergate.Rules{Tiers: []string{}, Percentage: 100}, Metadata: map[string]any{"flagSetId": "looks"},
			},
		},
	}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Errorf("Parse mismatch (-want +got):\n%s", diff)
	}
}

// One bad flag is left out with its reason, and all others are kept.
func TestParse_one_bad_flag(t *testing.T) {
	const good = `"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on"`
	for bad, want := range map[string]string{
		`7`: "object",
		`{"variants":{"on":true},"defaultVariant":"on"}`:                                      "state",
		`{"state":"MAYBE","variants":{"on":true}}`:                                            "MAYBE",
		`{"state":"ENABLED"}`:                                                                 "variants",
		`{"state":"ENABLED","variants":[]}`:                                                   "variants",
		`{"state":"ENABLED","variants":{}}`:                                                   "variants",
		`{"state":"ENABLED","variants":{"a":null}}`:                                           `"a"`,
		`{"state":"ENABLED","variants":{"a":[1]}}`:                                            `"a"`,
		`{"state":"ENABLED","variants":{"a":1,"b":"x"}}`:                                      "type",
		`{"state":"ENABLED","variants":{"a":1},"defaultVariant":"b"}`:                         `"b"`,
		`{"state":"ENABLED","variants":{"a":1},"defaultVariant":1}`:                           "defaultVariant",
		`{"state":"ENABLED","variants":{"a":1},"targeting":5}`:                                "targeting",
		`{"state":"ENABLED","variants":{"a":1},"metadata":[]}`:                                "metadata",
		`{"state":"ENABLED","variants":{"a":1},"metadata":{"m":{}}}`:                          `"m"`,
		`{"state":"ENABLED","variants":{"a":"` + strings.Repeat("x", 200<<10) + `"}}`:         "larger",
		`{"state":"ENABLED","variants":{"` + strings.Repeat("x", 300) + `":1}}`:               "longer",
		`{"state":"ENABLED","variants":{"a":1},"metadata":{"flagSetId":"` + "\\u0007" + `"}}`: "character",
	} {
		f, err := flagd.Parse([]byte(`{"flags":{"one":{` + good + `},"bad":` + bad + `,"two":{` + good + `}}}`))
		if err != nil || len(f.Flags) != 2 || len(f.Problems) != 1 {
			t.Errorf("bad = %.80s: %d flags, problems %v, %v", bad, len(f.Flags), f.Problems, err)
			continue
		}
		if p := f.Problems[0]; p.Flag != "bad" || !strings.Contains(p.Message, want) {
			t.Errorf("bad = %.80s: problem %v, want one about %s", bad, p, want)
		}
	}
}

// A document that cannot be read is an error that says where.
func TestParse_refuses(t *testing.T) {
	for doc, want := range map[string]string{
		``:                               "the document ends",
		`{"flags": {},}`:                 "row 1, column 14",
		"{\n \"flags\": {\"é\": tru":     "row 2, column 17",
		`{"flags": {}} x`:                `column 15: 'x'`,
		"{\"flags\": {}}\x00}":           "the end of the document",
		`{"flags": {"a": "\x"}}`:         "an escape",
		"{\"flags\": {\"a\": \"\x01\"}}": "string",
		"{\"flags\": {\"a\": \"\xff\"}}": "UTF-8",
		`{"flags": {"a": 01}}`:           "a comma",
		`{"flags": {"a": ` + strings.Repeat("[", 600): "nested",
		`{}`:              `"flags"`,
		`{"flags": null}`: `"flags"`,
		`[]`:              "object",
		`flags: {a: [}`:   "row 1",
		"a: &x [1]\nb: &y [*x,*x,*x,*x,*x,*x,*x,*x,*x,*x]\n" + bomb(): "aliases",
	} {
		if _, err := flagd.Parse([]byte(doc)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%.60q): %v, want an error with %q", doc, err, want)
		}
	}
}

// bomb is ten anchors, each ten times the one before.
func bomb() string {
	var b strings.Builder
	for i := range 10 {
		name, of := string(rune('b'+i)), string(rune('a'+i))
		if i == 0 {
			of = "y"
		}
		b.WriteString(name + name + ": &" + name + " [" + strings.Repeat("*"+of+",", 9) + "*" + of + "]\n")
		if i == 0 {
			continue
		}
	}
	return b.String()
}

// YAML files mean what JSON files mean, anchors included.
func TestParse_yaml(t *testing.T) {
	yaml := `
flags:
  a: &a
    state: ENABLED
    variants: {"on": true, "off": false}
    defaultVariant: "on"
    targeting:
      if:
        - "==": [{var: plan}, pro]
        - "on"
        - "off"
  b: *a
`
	f, err := flagd.Parse([]byte(yaml))
	if err != nil || len(f.Problems) > 0 || len(f.Flags) != 2 {
		t.Fatalf("Parse: %d flags, %v, %v", len(f.Flags), f.Problems, err)
	}
	if got, want := string(f.Flags[1].Rules.Targeting), `{"if":[{"==":[{"var":"plan"},"pro"]},"on","off"]}`; got != want {
		t.Errorf("targeting is %s, want %s", got, want)
	}
}

// Malformed YAML, aliases of nothing among it, is refused.
func TestParse_refuses_malformed_yaml(t *testing.T) {
	for _, doc := range []string{"? ", "a: !!binary\n? *", "&a *a", "- &a\n  ? *a", "%YAML", "a: |\n\t", "!!map ? :"} {
		if f, err := flagd.Parse([]byte(doc)); err == nil {
			t.Errorf("Parse(%q) = %+v, want an error", doc, f)
		}
	}
}

// In the array form flags name themselves, and of equal names the last counts.
func TestParse_array_form(t *testing.T) {
	f, err := flagd.Parse([]byte(`{"flags":[
		{"key":"a","state":"ENABLED","variants":{"x":1},"defaultVariant":"x"},
		{"state":"ENABLED","variants":{"x":1}},
		{"key":"a","state":"ENABLED","variants":{"y":2},"defaultVariant":"y"}]}`))
	if err != nil || len(f.Flags) != 1 || len(f.Problems) != 1 || f.Flags[0].DefaultVariant != "y" {
		t.Errorf("Parse: %+v, %v", f, err)
	}
}
