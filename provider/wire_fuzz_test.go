package provider

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	syncv1 "github.com/tiergate/tiergate/internal/wire/flagd/sync/v1"
)

// What is read by hand is what protobuf reads of a message whose first field is bytes, and what it
// refuses is refused. Only a message without flags is an error of ours alone.
func FuzzWire(f *testing.F) {
	about, err := structpb.NewStruct(map[string]any{"region": "eu", "list": []any{1, nil}})
	if err != nil {
		f.Fatal(err)
	}
	whole, err := proto.Marshal(&syncv1.SyncFlagsResponse{FlagConfiguration: `{"flags":{}}`, SyncContext: about})
	if err != nil {
		f.Fatal(err)
	}
	document := protowire.AppendString(protowire.AppendTag(nil, fieldDocument, protowire.BytesType), `{"flags":{"x":{}}}`)
	group := protowire.AppendTag(protowire.AppendTag(nil, 7, protowire.StartGroupType), 7, protowire.EndGroupType)
	for _, seed := range [][]byte{
		nil, whole, whole[:len(whole)-1], whole[:3], document,
		append(bytes.Clone(whole), document...), // of one that comes twice the last counts
		append(bytes.Clone(group), document...),
		append(bytes.Clone(group[:1]), document...), // a group without its end
		protowire.AppendTag(bytes.Clone(document), 7, protowire.EndGroupType),
		protowire.AppendVarint(protowire.AppendTag(bytes.Clone(document), fieldDocument, protowire.VarintType), 7),
		{0x0a, 0x00},                         // no bytes of flags
		{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}, // longer than what there is
		{0x02, 0x00},                         // a field of number 0
		{0x82, 0x80, 0x80, 0x80, 0x10, 0x00}, // a number that is too large
		{0x0f},
		{0x80},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		var want wrapperspb.BytesValue
		refused := proto.Unmarshal(message, &want)
		var got syncResponse
		err := got.read(message)
		switch {
		case refused != nil && err == nil:
			t.Errorf("%x is read, and protobuf says %v", message, refused)
		case refused == nil && err != nil && (len(want.Value) > 0 || !strings.Contains(err.Error(), "holds no flags")):
			t.Errorf("%x is refused with %v, and protobuf reads %q", message, err, want.Value)
		case err == nil && !bytes.Equal(got.document, want.Value):
			t.Errorf("%x reads as %q, and protobuf reads %q", message, got.document, want.Value)
		}
	})
}
