package client_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/tiergate/tiergate/client"
)

func ExampleClient_Hold() {
	s := newShelf(time.Now) // stands for a sidecar
	c, err := client.New(client.Options{HTTP: &http.Client{Transport: s}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	job, d, err := c.Hold(ctx, client.Use{Feature: "train", Subject: client.Subject{Team: "acme"}, Cost: 3}, time.Minute)
	if err != nil || !d.Allow {
		fmt.Println(d.Message, err)
		return
	}
	// What is not committed below is given back; after a commit this changes nothing.
	defer func() { _, _ = job.Release(ctx) }()

	used := int64(2) // the job runs here, and ends early when <-job.Lost()

	r, err := job.Commit(ctx, client.Actual{Units: used})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.State, r.Actual)
	// Output: COMMITTED 2
}
