package sidecar_test

import (
	"context"
	"fmt"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/demo"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/provider/sidecar"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/ofrep"
)

// exampleSidecar stands for a sidecar with the demo data that listens at a target.
func exampleSidecar() (target string, end func()) {
	e := evaluator.New(evaluator.Options{})
	ctx, stop := context.WithCancel(context.Background())
	if err := e.Apply(ctx, tiergate.Revision{
		Resume: tiergate.Resume{Epoch: "example", Rev: 1}, Whole: true, Changes: tiergate.ChangesOf(demo.Data()...),
	}); err != nil {
		panic(err)
	}
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{})
	if err != nil {
		panic(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- server.Serve(ctx, server.NewApp(server.Config{}, ofrep.New(ofrep.Config{Evaluator: e})), ln, time.Second)
	}()
	return "http://" + ln.Addr().String(), func() {
		stop()
		if err := <-done; err != nil {
			fmt.Println(err)
		}
	}
}

func ExampleNew() {
	target, end := exampleSidecar() // usually http://127.0.0.1:8016, or unix:/run/tiergate.sock
	defer end()
	ctx := context.Background()

	p, err := sidecar.New(target, sidecar.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := openfeature.SetProviderWithContextAndWait(ctx, p); err != nil {
		fmt.Println(err) // it goes on trying
		return
	}
	defer openfeature.Shutdown()
	client := openfeature.NewClient("shop")
	alice := openfeature.NewEvaluationContext("alice", map[string]any{"teamId": "acme", "plan": "pro"})
	fmt.Println(client.Boolean(ctx, "new-dashboard", false, alice))
	fmt.Println(client.Int(ctx, "max-upload-mb", 1, alice))
	// Output:
	// true
	// 1000
}
