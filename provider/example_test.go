package provider_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/demo"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/postgres"
	"github.com/tiergate/tiergate/provider"
	"github.com/tiergate/tiergate/provider/sidecar"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/flagdapi/flagsync"
	"github.com/tiergate/tiergate/server/ofrep"
	"github.com/tiergate/tiergate/server/rpc"
	syncer "github.com/tiergate/tiergate/sync"
)

// exampleSidecar stands for a sidecar with the demo data: the addresses of its OFREP, and of its
// stream of flags.
func exampleSidecar() (target, addr string, end func()) {
	e := evaluator.New(evaluator.Options{})
	if err := e.Apply(context.Background(), tiergate.Revision{
		Resume: tiergate.Resume{Epoch: "example", Rev: 1}, Whole: true, Changes: tiergate.ChangesOf(demo.Data()...),
	}); err != nil {
		panic(err)
	}
	app := server.NewApp(server.Config{}, ofrep.New(ofrep.Config{Evaluator: e}))
	asked, endAsked := exampleServed(func(ctx context.Context, ln net.Listener) error {
		return server.Serve(ctx, app, ln, time.Second)
	})
	streams := rpc.New(rpc.Config{}, flagsync.New(flagsync.Config{Exporter: e}))
	streamed, endStreamed := exampleServed(func(ctx context.Context, ln net.Listener) error {
		return streams.Serve(ctx, ln, time.Second)
	})
	return "http://" + asked, streamed, func() { endAsked(); endStreamed() }
}

// exampleServed is where something is served, until end is called.
func exampleServed(serve func(context.Context, net.Listener) error) (addr string, end func()) {
	ln, err := listen.Listen("127.0.0.1:0", listen.Options{})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, ln) }()
	return ln.Addr().String(), func() {
		stop()
		if err := <-done; err != nil {
			fmt.Println(err)
		}
	}
}

func ExampleInProcess() {
	p := provider.InProcess(fixed(demo.Data()), provider.Options{}) // a Postgres: postgres.NewFeed(…)
	if err := openfeature.SetProviderWithContextAndWait(context.Background(), p); err != nil {
		fmt.Println(err)
		return
	}
	defer openfeature.Shutdown()
	client := openfeature.NewClient("shop")
	carol := openfeature.NewEvaluationContext("carol", nil)
	d, err := client.BooleanValueDetails(context.Background(), "model-training", false, carol)
	fmt.Println(d.Value, d.FlagMetadata["denyReason"], d.FlagMetadata["upgrade"], err)
	// Output: false tier pro <nil>
}

// A program decides from a folder of flag files, and keeps what it has read.
func ExampleInProcess_folder() {
	dir, err := os.MkdirTemp("", "flags")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	flags, state := filepath.Join(dir, "flags"), filepath.Join(dir, "state")
	banner := `{"flags": {"banner": {"state": "ENABLED", "variants": {"red": "#f00"}, "defaultVariant": "red"}}}`
	for _, err := range []error{os.Mkdir(flags, 0o700), os.WriteFile(filepath.Join(flags, "flags.json"), []byte(banner), 0o600)} {
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	source := syncer.NewFileSource(flags, syncer.FileOptions{})
	p := provider.InProcess(source, provider.Options{Name: "file", Dir: state}) // such as /var/lib/shop/tiergate
	if err := openfeature.SetProviderWithContextAndWait(context.Background(), p); err != nil {
		fmt.Println(err)
		return
	}
	defer openfeature.Shutdown()
	fmt.Println(openfeature.NewClient("shop").String(context.Background(), "banner", "#000", openfeature.EvaluationContext{}))
	// Output: #f00
}

// A program with a database's credentials follows the database itself.
func ExampleInProcess_postgres() {
	state := "/var/lib/shop/tiergate"
	source := postgres.NewFeed(postgres.Config{URL: os.Getenv("DATABASE_URL")})
	p := provider.InProcess(source, provider.Options{Name: "postgres", Dir: state})
	if err := openfeature.SetProviderWithContextAndWait(context.Background(), p); err != nil {
		fmt.Println(err)
	}
	openfeature.Shutdown()
}

// A program without a database decides from the flags that a sidecar streams. The subject's tier
// comes from the context.
func ExampleSyncStream() {
	_, addr, end := exampleSidecar()
	defer end()
	p := provider.InProcess(provider.SyncStream(addr, provider.StreamOptions{}), provider.Options{}) // "127.0.0.1:8015"
	if err := openfeature.SetProviderWithContextAndWait(context.Background(), p); err != nil {
		fmt.Println(err)
		return
	}
	defer openfeature.Shutdown()
	client := openfeature.NewClient("shop")
	alice := openfeature.NewEvaluationContext("alice", map[string]any{"tier": "enterprise"})
	fmt.Println(client.Boolean(context.Background(), "white-label", false, alice))
	// Output: true
}

// A program asks a sidecar, and starts also while that is away.
func ExampleSidecar() {
	target, _, end := exampleSidecar()
	defer end()
	ask := func(ctx context.Context) error {
		p, err := sidecar.New(target, sidecar.Options{}) // "http://127.0.0.1:8016", or "unix:/run/tiergate.sock"
		if err != nil {
			return err
		}
		if err := openfeature.SetProviderWithContextAndWait(ctx, p); err != nil {
			return err // it goes on trying: log it and start, if your code defaults will do meanwhile
		}
		defer openfeature.Shutdown()
		client := openfeature.NewClient("shop")
		alice := openfeature.NewEvaluationContext("alice", map[string]any{"teamId": "acme", "plan": "pro"})
		on := client.Boolean(ctx, "new-dashboard", false, alice)
		fmt.Println(on)
		return nil
	}
	if err := ask(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: true
}
