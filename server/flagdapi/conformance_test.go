package flagdapi_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/conformance"
	wirev1 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	wirev2 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v2"
	"github.com/tiergate/tiergate/server/flagdapi"
)

// methodOf names the method for a flag of the demo data.
func methodOf(name string) string {
	for _, c := range conformance.Demo() {
		if f, ok := c.Put.(*tiergate.Flag); ok && f.Name == name {
			return map[tiergate.FlagType]string{
				tiergate.Boolean: "ResolveBoolean", tiergate.String: "ResolveString", tiergate.Number: "ResolveFloat", tiergate.Object: "ResolveObject",
			}[f.Type]
		}
	}
	return "ResolveBoolean"
}

// answered is what an answer, as JSON, says in the words of the cases. Version 1 gives a
// disabled flag the zero value.
func answered(a map[string]any) conformance.Answer {
	text := func(m map[string]any, name string) string { s, _ := m[name].(string); return s }
	meta, _ := a["metadata"].(map[string]any)
	denied, _ := meta["denied"].(bool)
	got := conformance.Answer{
		Value: a["value"], Variant: text(a, "variant"), Reason: text(a, "reason"),
		Tier: text(meta, "tier"), Denied: denied, Upgrade: text(meta, "upgrade"),
	}
	if got.Reason == string(tiergate.ReasonDisabled) {
		got.Value = nil
	}
	return got
}

func notFound() conformance.Answer {
	return conformance.Answer{Reason: string(tiergate.ReasonError), ErrorCode: string(tiergate.FlagNotFound)}
}

// Over both versions of flagd's protocol and over Connect the demo data leads to the decisions
// that were worked out by hand.
func TestConformance(t *testing.T) {
	d := open(t, flagdapi.Config{Watcher: engine(t)})
	for _, version := range []string{"v1", "v2"} {
		t.Run("gRPC_"+version, func(t *testing.T) {
			conformance.Run(t, func(t *testing.T, c conformance.Case) conformance.Answer {
				answer, err := call(t.Context(), d.conn, version, methodOf(c.Flag), c.Flag, contextOf(t, c.Context))
				if status.Code(err) == codes.NotFound {
					return notFound()
				} else if err != nil {
					t.Fatal(err)
				}
				return answered(answer)
			})
		})
		t.Run("Connect_"+version, func(t *testing.T) {
			conformance.Run(t, func(t *testing.T, c conformance.Case) conformance.Answer {
				code, answer := d.post(t, version+".Service/"+methodOf(c.Flag), map[string]any{"flagKey": c.Flag, "context": c.Context})
				if code == 404 && answer["code"] == "not_found" {
					return notFound()
				} else if code != 200 {
					t.Fatalf("%d %v", code, answer)
				}
				return answered(answer)
			})
		})
	}
}

// call calls a method by its name over gRPC, and returns the answer as JSON would have it, with
// all members.
func call(ctx context.Context, conn *grpc.ClientConn, version, method, flag string, attributes *structpb.Struct, opts ...grpc.CallOption) (map[string]any, error) {
	var req, resp proto.Message
	switch version + method {
	case "v1ResolveBoolean":
		req, resp = &wirev1.ResolveBooleanRequest{FlagKey: flag, Context: attributes}, &wirev1.ResolveBooleanResponse{}
	case "v1ResolveString":
		req, resp = &wirev1.ResolveStringRequest{FlagKey: flag, Context: attributes}, &wirev1.ResolveStringResponse{}
	case "v1ResolveFloat":
		req, resp = &wirev1.ResolveFloatRequest{FlagKey: flag, Context: attributes}, &wirev1.ResolveFloatResponse{}
	case "v1ResolveInt":
		req, resp = &wirev1.ResolveIntRequest{FlagKey: flag, Context: attributes}, &wirev1.ResolveIntResponse{}
	case "v1ResolveObject":
		req, resp = &wirev1.ResolveObjectRequest{FlagKey: flag, Context: attributes}, &wirev1.ResolveObjectResponse{}
	case "v1ResolveAll":
		req, resp = &wirev1.ResolveAllRequest{Context: attributes}, &wirev1.ResolveAllResponse{}
	case "v2ResolveBoolean":
		req, resp = &wirev2.ResolveBooleanRequest{FlagKey: flag, Context: attributes}, &wirev2.ResolveBooleanResponse{}
	case "v2ResolveString":
		req, resp = &wirev2.ResolveStringRequest{FlagKey: flag, Context: attributes}, &wirev2.ResolveStringResponse{}
	case "v2ResolveFloat":
		req, resp = &wirev2.ResolveFloatRequest{FlagKey: flag, Context: attributes}, &wirev2.ResolveFloatResponse{}
	case "v2ResolveInt":
		req, resp = &wirev2.ResolveIntRequest{FlagKey: flag, Context: attributes}, &wirev2.ResolveIntResponse{}
	case "v2ResolveObject":
		req, resp = &wirev2.ResolveObjectRequest{FlagKey: flag, Context: attributes}, &wirev2.ResolveObjectResponse{}
	default:
		panic("there is no " + version + method)
	}
	if err := conn.Invoke(ctx, "/flagd.evaluation."+version+".Service/"+method, req, resp, opts...); err != nil {
		return nil, err
	}
	text, err := protojson.MarshalOptions{EmitUnpopulated: strings.HasPrefix(version, "v1")}.Marshal(resp)
	if err != nil {
		return nil, err
	}
	var answer map[string]any
	return answer, json.Unmarshal(text, &answer)
}
