package evaluator_test

import (
	"encoding/json"
	"testing"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/conformance"
)

// Whatever a flag's definition says, applying it is no error, deciding does not panic, a
// value is JSON, and a flag that cannot be used is named.
func FuzzFlag(f *testing.F) {
	for _, change := range conformance.Demo() {
		if flag, ok := change.Put.(*tiergate.Flag); ok {
			text, err := json.Marshal(flag)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Add([]byte(`{"id":"x","set":"default","name":"x","type":"number","enabled":true,"variants":{"v":1e999},"rules":{"targeting":{"$ref":"y"}}}`))
	f.Add([]byte(`{"id":"x","set":"\u0000","name":"","type":"boolean","enabled":true,"variants":{"on":[]},"rules":{"percentage":1e-9}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var flag tiergate.Flag
		if json.Unmarshal(text, &flag) != nil {
			return
		}
		e := newEngine(evaluator.Options{})
		apply(t, e, whole(1, tiergate.PutOf(&flag)))
		d := e.Generation().Decide(&tiergate.Request{Set: flag.Set, Flag: flag.Name, UserID: "alice", Now: now})
		if d.Value != nil && !json.Valid(d.Value) {
			t.Errorf("the value %q is not JSON", d.Value)
		}
		if quarantined := len(e.Quarantined()) == 1; quarantined != (d.ErrorCode == tiergate.ParseError) && flag.Enabled && flag.Set != "" {
			t.Errorf("quarantined is %v and the decision %+v", quarantined, d)
		}
	})
}
