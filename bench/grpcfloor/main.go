// Command grpcfloor is the least that a grpc-go server can do for a flagd client: it decodes
// the question and answers the same each time. What tiergate costs is told as a ratio to it.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	v1 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	v2 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v2"
)

var (
	yes, on  = true, "on"
	metadata = &structpb.Struct{Fields: map[string]*structpb.Value{
		"revision": structpb.NewStringValue("0190aaaa-12"), "tier": structpb.NewStringValue("enterprise"),
	}}
	one = &v2.ResolveBooleanResponse{Value: &yes, Reason: "STATIC", Variant: &on, Metadata: metadata}
	all = &v1.ResolveAllResponse{Flags: map[string]*v1.AnyFlag{}, Metadata: metadata}
)

type version1 struct{ v1.UnimplementedServiceServer }

func (version1) ResolveAll(context.Context, *v1.ResolveAllRequest) (*v1.ResolveAllResponse, error) {
	return all, nil
}

type version2 struct{ v2.UnimplementedServiceServer }

func (version2) ResolveBoolean(context.Context, *v2.ResolveBooleanRequest) (*v2.ResolveBooleanResponse, error) {
	return one, nil
}

func main() {
	for i := range 100 {
		all.Flags[fmt.Sprintf("flag-%06d", i)] = &v1.AnyFlag{
			Reason: "STATIC", Variant: "on", Value: &v1.AnyFlag_BoolValue{BoolValue: true}, Metadata: metadata,
		}
	}
	ln, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer()
	v1.RegisterServiceServer(s, version1{})
	v2.RegisterServiceServer(s, version2{})
	log.Fatal(s.Serve(ln))
}
