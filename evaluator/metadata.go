package evaluator

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/tiergate/tiergate/internal/jsonvalue"
)

// encodeMetadata returns own metadata over shared, as the members of a JSON object
// without the braces, in the order of their names. Only strings, booleans and numbers are
// metadata to OpenFeature; anything else is left out.
func encodeMetadata(shared, own map[string]any) json.RawMessage {
	if len(shared)+len(own) == 0 {
		return nil
	}
	all := maps.Clone(shared)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, own)
	var out []byte
	for _, name := range slices.Sorted(maps.Keys(all)) {
		switch all[name].(type) {
		case string, bool, float64, int, int64, json.Number:
		default:
			continue
		}
		v, err := jsonvalue.Of(all[name])
		if err != nil {
			continue
		}
		if out != nil {
			out = append(out, ',')
		}
		out = append(jsonvalue.AppendString(out, name), ':')
		out = jsonvalue.Append(out, v)
	}
	return slices.Clip(out)
}
