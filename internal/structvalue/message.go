package structvalue

import (
	"encoding/json"
	"math"
	"strings"
	"sync"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/jsonvalue"
)

var parsers = sync.Pool{New: func() any { return new(jsonvalue.Parser) }}

// maxPooledBytes is the size of a text whose parser is kept for the next.
const maxPooledBytes = 64 << 10

// What most flags answer with.
var yes, no = structpb.NewBoolValue(true), structpb.NewBoolValue(false)

// OfJSON makes a message of JSON text of ours, which holds on to nothing of it: whatever a flag's
// variant may be. The message may be shared: it is not to be changed. Numbers become the nearest
// float64: the message has no other.
func OfJSON(text json.RawMessage) (*structpb.Value, error) {
	switch string(text) {
	case "true":
		return yes, nil
	case "false":
		return no, nil
	}
	p := parsers.Get().(*jsonvalue.Parser)
	v, err := p.ParseWithin(text, tiergate.MaxVariantDepth)
	if err != nil {
		return nil, err
	}
	m := Of(v)
	if len(text) <= maxPooledBytes {
		parsers.Put(p)
	}
	return m, nil
}

// Of makes a message of a Value, with strings of its own. Undefined and numbers that JSON does
// not have become null.
func Of(v tiergate.Value) *structpb.Value {
	switch v.Kind() {
	case tiergate.True:
		return structpb.NewBoolValue(true)
	case tiergate.False:
		return structpb.NewBoolValue(false)
	case tiergate.NumberValue:
		if f := v.Float(); !math.IsInf(f, 0) && !math.IsNaN(f) {
			return structpb.NewNumberValue(f)
		}
	case tiergate.StringValue:
		return structpb.NewStringValue(strings.Clone(v.Text()))
	case tiergate.ArrayValue:
		list := make([]*structpb.Value, v.Len())
		for i := range list {
			list[i] = Of(v.Index(i))
		}
		return structpb.NewListValue(&structpb.ListValue{Values: list})
	case tiergate.ObjectValue:
		fields := make(map[string]*structpb.Value, v.Len())
		for i := range v.Len() {
			fields[strings.Clone(v.KeyAt(i))] = Of(v.Index(i))
		}
		return structpb.NewStructValue(&structpb.Struct{Fields: fields})
	}
	return structpb.NewNullValue()
}
