package conformance

import (
	_ "embed"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate"
)

//go:embed kinds.json
var kindsJSON []byte

// A Door is a way to ask for a flag.
type Door string

// The doors. flagd's protocol says the same over gRPC and over Connect.
const (
	Engine       Door = "engine"
	CommandLine  Door = "cli"
	OFREP        Door = "ofrep"
	FlagdV1      Door = "flagd v1"
	FlagdV2      Door = "flagd v2"
	GoInProcess  Door = "go in process"  // the Go provider, from a source
	GoStream     Door = "go stream"      // the Go provider, from a sidecar's stream
	GoSidecar    Door = "go sidecar"     // the Go provider, asking a sidecar
	NPMInProcess Door = "npm in process" // flagd's provider for Node, from a sidecar's stream
)

// Doors returns all of them.
func Doors() []Door {
	return []Door{Engine, CommandLine, OFREP, FlagdV1, FlagdV2, GoInProcess, GoStream, GoSidecar, NPMInProcess}
}

// A KindCase asks for one kind of answer: a type, a reason or an error. (There is no case of
// SPLIT, which nobody says: flagd calls it TARGETING_MATCH. TARGETING_KEY_MISSING is no error
// here, and PROVIDER_NOT_READY is one only before there are flags.)
type KindCase struct {
	Story   string         `json:"story"` // what happens, as a sentence
	Flag    string         `json:"flag"`
	As      string         `json:"as"` // the type that is asked for: boolean, string, integer, float or object
	Context map[string]any `json:"context"`
	Want    KindAnswer     `json:"want"`
	But     []Exception    `json:"but"` // the doors that cannot say it so
}

// A KindAnswer is what a door says. flagd's protocol has statuses in place of error codes, such
// as INVALID_ARGUMENT.
type KindAnswer struct {
	Value     any    `json:"value"` // nil: the caller's code default applies
	Variant   string `json:"variant"`
	Reason    string `json:"reason"`
	ErrorCode string `json:"errorCode"`
}

// An Exception is what some doors say instead.
type Exception struct {
	Doors []Door      `json:"doors"`
	Want  *KindAnswer `json:"want"` // nil: they cannot be asked this
	Why   string      `json:"why"`
}

// Of returns what a door must say, false when it cannot be asked.
func (c KindCase) Of(door Door) (KindAnswer, bool) {
	for _, e := range c.But {
		switch {
		case !slices.Contains(e.Doors, door):
		case e.Want == nil:
			return KindAnswer{}, false
		default:
			return *e.Want, true
		}
	}
	return c.Want, true
}

// KindCases returns the table.
func KindCases() []KindCase {
	var cases []KindCase
	if err := json.Unmarshal(kindsJSON, &cases); err != nil {
		panic("tiergate: bug: kinds.json: " + err.Error())
	}
	return cases
}

// Kinds returns the flags that the cases are about, besides the demo data.
func Kinds() []tiergate.Change {
	flag := func(name string, typ tiergate.FlagType, value string, edit func(*tiergate.Flag)) tiergate.Change {
		f := &tiergate.Flag{
			ID: "kind-" + name, Set: tiergate.DefaultSet, Name: name, Type: typ, Enabled: true,
			Variants: map[string]json.RawMessage{"v": json.RawMessage(value)}, DefaultVariant: "v", OffVariant: "v",
			Rules: tiergate.Rules{Tiers: []string{}, Percentage: 100},
		}
		if edit != nil {
			edit(f)
		}
		return tiergate.PutOf(f)
	}
	rule := func(text string) func(*tiergate.Flag) {
		return func(f *tiergate.Flag) { f.Rules.Targeting = json.RawMessage(text) }
	}
	return []tiergate.Change{
		flag("yes", tiergate.Boolean, `true`, nil),
		flag("text", tiergate.String, `"größer \"als\"\n"`, nil),
		flag("empty-text", tiergate.String, `""`, nil),
		flag("ten", tiergate.Number, `10`, nil),
		flag("half", tiergate.Number, `0.5`, nil),
		flag("zero", tiergate.Number, `0`, nil),
		flag("object", tiergate.Object, `{"list": [1, "two", {"three": null}]}`, nil),
		flag("empty-object", tiergate.Object, `{}`, nil),
		flag("targeted", tiergate.String, `"by default"`, func(f *tiergate.Flag) {
			f.Variants["staff"] = json.RawMessage(`"by rule"`)
			rule(`{"if": [{"ends_with": [{"var": "email"}, "@example.com"]}, "staff", null]}`)(f)
		}),
		flag("no-default", tiergate.String, `"unused"`, func(f *tiergate.Flag) { f.DefaultVariant, f.OffVariant = "", "" }),
		flag("disabled", tiergate.String, `"unused"`, func(f *tiergate.Flag) { f.Enabled = false }),
		flag("broken", tiergate.String, `"unused"`, rule(`{"no_such_operator": []}`)),
		flag("astray", tiergate.String, `"unused"`, rule(`{"cat": ["no", "where"]}`)),
	}
}

// RunKinds asks a door every case that it can be asked.
func RunKinds(t *testing.T, door Door, ask func(t *testing.T, c KindCase) KindAnswer) {
	t.Helper()
	for _, c := range KindCases() {
		want, ok := c.Of(door)
		if !ok {
			continue
		}
		t.Run(strings.ReplaceAll(strings.TrimSuffix(c.Story, "."), " ", "_"), func(t *testing.T) {
			if diff := cmp.Diff(want, ask(t, c)); diff != "" {
				t.Errorf("%s\n%s as %s for %v mismatch (-want +got):\n%s", c.Story, c.Flag, c.As, c.Context, diff)
			}
		})
	}
}
