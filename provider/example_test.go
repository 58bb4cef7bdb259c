package provider_test

import (
	"context"
	"fmt"
	"os"

	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate/internal/demo"
	"github.com/tiergate/tiergate/provider"
	syncer "github.com/tiergate/tiergate/sync"
)

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

func ExampleInProcess_folder() {
	dir, err := os.MkdirTemp("", "flags")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	banner := `{"flags": {"banner": {"state": "ENABLED", "variants": {"red": "#f00"}, "defaultVariant": "red"}}}`
	if err := os.WriteFile(dir+"/flags.json", []byte(banner), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	p := provider.InProcess(syncer.NewFileSource(dir, syncer.FileOptions{}), provider.Options{Name: "file"})
	if err := openfeature.SetProviderWithContextAndWait(context.Background(), p); err != nil {
		fmt.Println(err)
		return
	}
	defer openfeature.Shutdown()
	fmt.Println(openfeature.NewClient("shop").String(context.Background(), "banner", "#000", openfeature.EvaluationContext{}))
	// Output: #f00
}

// A program without a database decides from the flags that a sidecar streams. The subject's tier
// comes from the context.
func ExampleSyncStream() {
	p := provider.InProcess(provider.SyncStream("127.0.0.1:8015", provider.StreamOptions{}), provider.Options{})
	if err := openfeature.SetProviderWithContextAndWait(context.Background(), p); err != nil {
		fmt.Println(err)
		return
	}
	defer openfeature.Shutdown()
	client := openfeature.NewClient("shop")
	alice := openfeature.NewEvaluationContext("alice", map[string]any{"tier": "enterprise"})
	fmt.Println(client.Boolean(context.Background(), "white-label", false, alice))
}
