package evaluator_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/evaluator/targeting"
	"github.com/tiergate/tiergate/internal/conformance"
	"github.com/tiergate/tiergate/internal/flagd"
)

// Whatever a flag's definition and its shared rule say, the document is one that protobuf and
// flagd can read, and decides as the flag does, or less.
func FuzzExport(f *testing.F) {
	for _, change := range conformance.Demo() {
		if flag, ok := change.Put.(*tiergate.Flag); ok {
			text, err := json.Marshal(flag)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text, []byte(`{"==":[{"var":"tier"},"pro"]}`))
		}
	}
	const head = `{"id":"x","set":"default","name":"x","type":"string","enabled":true,"variants":{"on":"a","off":"b","true":"c"},"defaultVariant":"on",`
	f.Add([]byte(head+`"rules":{"tiers":["pro"],"targeting":{"$ref":"shared"}}}`), []byte(`{"in":["$",{"var":"tier"}]}`))
	f.Add([]byte(head+`"offVariant":"off","rules":{"percentage":50,"targeting":{"if":[{"\u0024ref":"shared"},"on"]}}}`), []byte(`"on"`))
	f.Add([]byte(head+`"rules":{"percentage":0.5,"tiers":["none"]},"metadata":{"$ref":"shared"}}`), []byte(`{"$ref":"shared"}`))
	f.Fuzz(func(t *testing.T, text, shared []byte) {
		var flag tiergate.Flag
		if json.Unmarshal(text, &flag) != nil || flag.Set == "" || !json.Valid(shared) {
			return
		}
		e := newEngine(evaluator.Options{TrustContextTier: true})
		apply(t, e, whole(
			1, tiergate.PutOf(&tiergate.Tier{Key: "free", Name: "Free"}), tiergate.PutOf(&tiergate.Tier{Key: "pro", Name: "Pro", Rank: 1}),
			tiergate.PutOf(&tiergate.FlagSet{Name: flag.Set, Evaluators: map[string]json.RawMessage{"shared": shared}}), tiergate.PutOf(&flag),
		))
		doc := export(t, e, flag.Set)
		if !utf8.ValidString(doc.JSON) {
			t.Fatalf("the document is no text: %q", doc.JSON)
		}
		if len(e.Quarantined()) > 0 { // perhaps for a name that no file may have either
			return
		}
		req := &tiergate.Request{
			Set: flag.Set, Flag: flag.Name, UserID: "alice", Now: now,
			Attributes: value(t, `{"targetingKey":"alice","tier":"pro","country":"NL"}`),
		}
		ours := e.Generation().Decide(req)
		theirs, ok := variantOf(t, doc, req, "pro")
		switch {
		case !ok:
		case ours.ErrorCode != "" || len(doc.Withheld) > 0:
			if theirs != "" && theirs != flag.OffVariant && theirs != "off" {
				t.Errorf("%q in the document %s, here %+v", theirs, doc.JSON, ours)
			}
		case theirs != ours.Variant:
			t.Errorf("%q in the document %s, here %+v", theirs, doc.JSON, ours)
		}
	})
}

// variantOf decides by a document, and is false where what stands around a rule makes it larger
// than one may be here.
func variantOf(t *testing.T, doc *tiergate.FlagDocument, req *tiergate.Request, tier string) (string, bool) {
	t.Helper()
	file, err := flagd.Parse([]byte(doc.JSON))
	if err != nil || len(file.Problems) > 0 || len(file.Flags) != 1 {
		t.Fatalf("the document %s does not parse: %v %v", doc.JSON, err, file.Problems)
	}
	if f := &file.Flags[0]; f.Rules.Targeting != nil {
		_, err := targeting.Compile(f.Rules.Targeting, targeting.Options{Evaluators: file.Sets[0].Evaluators})
		if err != nil && (strings.Contains(err.Error(), "deeper") || strings.Contains(err.Error(), "at most")) {
			return "", false
		}
	}
	return documentOf(t, doc).variant(req.Flag, req, tier), true
}
