package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"

	"github.com/tiergate/tiergate/internal/demo"
	"github.com/tiergate/tiergate/internal/localpg"
	"github.com/tiergate/tiergate/postgres"
)

// devCmd runs everything in one process on loopback.
type devCmd struct {
	dataOptions
	doorOptions
	streamOptions
	opsOptions
	adminOptions
	listenOptions
	usageOptions
	retentionOptions
	demoOptions
}

// Run serves until ctx ends. A second start finds the data of the first.
func (c *devCmd) Run(ctx context.Context, log *slog.Logger, out console) error {
	// 1. a Postgres of our own, on a Unix socket
	own, err := keepPostgres(ctx, localpg.Config{Dir: c.DataDir, Log: log}, log)
	if err != nil {
		return err
	}
	defer own.close()
	// 2. the schema and the demo data
	url, err := c.prepare(ctx, own.cluster, log)
	if err != nil {
		return err
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: url, Log: log})
	if err != nil {
		return err
	}
	defer db.Close()
	if !c.NoDemo {
		if _, err := db.SeedDemo(ctx, demo.Data()); err != nil {
			return err
		}
	}
	// 3. the replica and its doors
	r, err := newReplica(url, replicaOptions{}, c.DataDir, log)
	if err != nil {
		return err
	}
	if c.AdminToken == "" {
		c.AdminToken = rand.Text()
	}
	counts, err := openCounter(url, r, c.DataDir, c.usageOptions, log)
	if err != nil {
		return err
	}
	defer counts.close(log)
	d, err := openDoors(r, counts, c.opsOptions, c.listenOptions, log)
	if err != nil {
		return err
	}
	streams, err := openStreams(r, c.streamOptions, c.DataDir, "none")
	if err != nil {
		return d.close(err)
	}
	if err := d.addHTTP(r, counts, streams, c.doorOptions, "none"); err != nil {
		return d.close(err)
	}
	if err := d.addGRPC(r, counts, c.doorOptions, c.streamOptions, "none"); err != nil {
		return d.close(err)
	}
	if err := d.addSync(r, c.doorOptions, c.streamOptions, "none"); err != nil {
		return d.close(err)
	}
	if err := d.addAdmin(r, db, c.adminOptions, c.retentionOptions); err != nil {
		return d.close(err)
	}
	return together(ctx, own.run, r.run, d.run, func(ctx context.Context) error {
		select {
		case <-r.syncer.Ready():
			c.greet(out, url)
		case <-ctx.Done():
		}
		return nil
	})
}

// prepare makes the database on first use and brings its schema up to date.
func (c *devCmd) prepare(ctx context.Context, cluster *localpg.Cluster, log *slog.Logger) (string, error) {
	url := cluster.URL("tiergate")
	if err := postgres.CreateDatabase(ctx, cluster.URL("postgres"), "tiergate"); err != nil {
		return "", err
	}
	return url, postgres.Migrate(ctx, url, postgres.MigrateOptions{Log: log})
}

func (c *devCmd) greet(out console, url string) {
	fmt.Fprintf(out.out, `
tiergate is ready.

  OFREP        http://%s/ofrep/v1/evaluate/flags/new-dashboard
  decisions    http://%s/v1/consume
  gRPC         %s   (flagd.evaluation.v1 and .v2, tiergate.v1; also as Connect)
  flagd sync   %s   (for flagd's in-process providers)
  admin API    http://%s/api/features   (documentation at /docs)
  health       http://%s/status
  database     %s
  admin token  %s

  curl -s http://%s/ofrep/v1/evaluate/flags/new-dashboard -d '{"context": {"targetingKey": "alice"}}'

`, c.HTTPAddr, c.HTTPAddr, c.GRPCAddr, c.SyncAddr, c.AdminAddr, c.OpsAddr, url, c.AdminToken, c.HTTPAddr)
}
