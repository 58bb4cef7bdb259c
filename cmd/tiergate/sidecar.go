package main

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/decision"
	"github.com/tiergate/tiergate/server/ofrep"
)

// sidecarCmd answers decisions next to an application.
type sidecarCmd struct {
	dataOptions
	replicaOptions
	doorOptions
	streamOptions
	opsOptions
	listenOptions
	authOptions
	usageOptions
}

// Run serves until ctx ends.
func (c *sidecarCmd) Run(ctx context.Context, log *slog.Logger) error {
	r, err := newReplica(c.Source, c.replicaOptions, c.DataDir, log)
	if err != nil {
		return err
	}
	counts, err := openCounter(c.Source, r, c.DataDir, c.usageOptions, log)
	if err != nil {
		return err
	}
	defer counts.close(log)
	d, err := openDoors(r, counts, c.opsOptions, c.listenOptions, log)
	if err != nil {
		return err
	}
	streams, err := openStreams(r, c.streamOptions, c.DataDir, c.Auth)
	if err != nil {
		return d.close(err)
	}
	if err := d.addHTTP(r, counts, streams, c.doorOptions, c.Auth); err != nil {
		return d.close(err)
	}
	if err := d.addGRPC(r, counts, c.doorOptions, c.streamOptions, c.Auth); err != nil {
		return d.close(err)
	}
	if err := d.addSync(r, c.doorOptions, c.streamOptions, c.Auth); err != nil {
		return d.close(err)
	}
	return together(ctx, r.run, d.run)
}

// addHTTP adds the doors that applications ask at: OFREP and the decision API.
func (d *doors) addHTTP(r *replica, counts *counter, streams *ofrep.Streams, o doorOptions, auth string) error {
	ln, err := d.listen("http", "--http-addr", o.HTTPAddr)
	if err != nil {
		return err
	}
	staleAfter := cmp.Or(d.state.ReadyMaxAge, defaultStaleAfter)
	flags := ofrep.New(ofrep.Config{
		Evaluator:  r.engine,
		AsOf:       r.syncer.AsOf,
		StaleAfter: staleAfter,
		Credential: credential(auth, r, tiergate.ScopeEvaluate),
		Version:    version,
		Gate:       counts.gate.Hurried(),
		Streams:    streams,
	})
	uses := decision.New(d.decisionConfig(r, counts, auth))
	app := server.NewApp(server.Config{
		Hosts:       listen.HostsOf([]string{o.HTTPAddr}, d.options.Host),
		CORSOrigins: o.CORSOrigin,
		Log:         d.log,
		Observe:     d.metrics.Door,
		Panicked:    d.metrics.Panicked,
	}, flags, uses)
	d.jobs = append(d.jobs, func(ctx context.Context) error { return server.Serve(ctx, app, ln, drainTime) })
	if streams == nil {
		return nil
	}
	d.jobs = append(d.jobs, streams.Run)
	return d.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tiergate_ofrep_streams",
		Help: "OFREP event streams that clients listen to.",
	}, func() float64 { return float64(streams.Open()) }))
}

// defaultStaleAfter is when answers begin to say that they are stale where no age makes
// the sidecar unready.
const defaultStaleAfter = 15 * time.Second
