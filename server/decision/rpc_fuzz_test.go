package decision_test

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tiergate/tiergate"
	tiergatev1 "github.com/tiergate/tiergate/internal/wire/tiergate/v1"
	"github.com/tiergate/tiergate/server/decision"
)

// Whatever a message holds, there is no panic, the gate sees only what it may see, and there is
// an answer that can be sent, or a status that is not OK.
func FuzzRPC(f *testing.F) {
	methods := tiergatev1.DecisionService_ServiceDesc.Methods
	attributes, err := structpb.NewStruct(map[string]any{"a": []any{1, "b", nil, true}, "b": map[string]any{"c": 1e300}})
	if err != nil {
		f.Fatal(err)
	}
	q := &tiergatev1.Question{Feature: "exports", Subject: &tiergatev1.Subject{User: "alice", Team: "acme"}, Attributes: attributes, Set: "web"}
	one := &tiergatev1.ConsumeRequest{Question: q, Cost: 2, IdempotencyKey: "k", Metadata: attributes}
	for i, m := range []proto.Message{
		one, &tiergatev1.BatchConsumeRequest{Items: []*tiergatev1.ConsumeRequest{one, {}, one}},
		&tiergatev1.ReserveRequest{Question: q, Id: "r1", TtlMs: 1000}, &tiergatev1.ReplaceGaugeRequest{Question: q, Items: []string{"a", "b"}},
		&tiergatev1.CommitReservationRequest{Id: "r1", Capped: true},
	} {
		wire, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		for method := range methods {
			f.Add(uint8(method+i), wire)
		}
	}
	f.Fuzz(func(t *testing.T, method uint8, wire []byte) {
		service, _ := rpcDoor(func(cfg *decision.Config) {
			g := wary(t)
			cfg.Gate, cfg.Gauges, cfg.Reservations = g, g, new(reservations)
		})
		defer func() { // "panics" is a feature whose gate does
			if reason := recover(); reason != nil && reason != "boom" {
				panic(reason)
			}
		}()
		answer, err := methods[int(method)%len(methods)].Handler(service, context.Background(), func(m any) error {
			if err := proto.Unmarshal(wire, m.(proto.Message)); err != nil {
				return status.Error(codes.InvalidArgument, err.Error())
			}
			return nil
		}, nil)
		if err != nil {
			if st, ok := status.FromError(err); !ok || st.Code() == codes.OK || st.Code() == codes.Unknown || st.Message() == "" {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		if _, err := proto.Marshal(answer.(proto.Message)); err != nil {
			t.Fatalf("the answer %v cannot be sent: %v", answer, err)
		}
		if v, ok := answer.(interface{ GetVerdict() *tiergatev1.Verdict }); ok {
			if r := tiergate.UseReason(v.GetVerdict().GetReason()); r == "" || r.Status() != int(v.GetVerdict().GetStatus()) {
				t.Fatalf("the answer is %v", answer)
			}
		}
	})
}
