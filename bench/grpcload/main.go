// Command grpcload asks one question over gRPC over and over and prints how many were answered.
// Usage: grpcload ADDR one|all FLAG|SET DURATION CONNS
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	v1 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v1"
	v2 "github.com/tiergate/tiergate/internal/wire/flagd/evaluation/v2"
)

func main() {
	duration, err := time.ParseDuration(os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	conns, _ := strconv.Atoi(os.Args[5])
	var answered atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(duration)
	for range conns {
		wg.Go(func() { answered.Add(ask(os.Args[1], os.Args[2], os.Args[3], end)) })
	}
	wg.Wait()
	fmt.Println(answered.Load())
}

// ask asks until the end and returns the number of answers.
func ask(addr, what, name string, end time.Time) int64 {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	ctx := context.Background()
	attributes := &structpb.Struct{Fields: map[string]*structpb.Value{"targetingKey": structpb.NewStringValue("alice")}}
	question := func() error {
		_, err := v2.NewServiceClient(conn).ResolveBoolean(ctx, &v2.ResolveBooleanRequest{FlagKey: name, Context: attributes})
		return err
	}
	if what == "all" {
		ctx = metadata.AppendToOutgoingContext(ctx, "flagd-selector", "flagSetId="+name)
		question = func() error {
			_, err := v1.NewServiceClient(conn).ResolveAll(ctx, &v1.ResolveAllRequest{Context: attributes})
			return err
		}
	}
	var n int64
	for ; time.Now().Before(end); n++ {
		if err := question(); err != nil {
			log.Fatal(err)
		}
	}
	return n
}
