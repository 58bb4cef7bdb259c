package main

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/ofrep"
)

// sidecarCmd answers decisions next to an application.
type sidecarCmd struct {
	dataOptions
	replicaOptions
	doorOptions
	opsOptions
	listenOptions
	authOptions
}

// Run serves until ctx ends.
func (c *sidecarCmd) Run(ctx context.Context, log *slog.Logger) error {
	r, err := newReplica(c.Source, c.replicaOptions, c.DataDir, log)
	if err != nil {
		return err
	}
	d, err := openDoors(r, c.opsOptions, c.listenOptions, log)
	if err != nil {
		return err
	}
	if err := d.addOFREP(r, c.doorOptions, c.Auth); err != nil {
		return d.close(err)
	}
	return together(ctx, r.run, d.run)
}

// addOFREP adds the door that applications evaluate flags at.
func (d *doors) addOFREP(r *replica, o doorOptions, auth string) error {
	ln, err := d.listen("http", "--http-addr", o.HTTPAddr)
	if err != nil {
		return err
	}
	door := ofrep.New(ofrep.Config{
		Evaluator:  r.engine,
		AsOf:       r.syncer.AsOf,
		StaleAfter: cmp.Or(d.state.ReadyMaxAge, defaultStaleAfter),
		Credential: credential(auth, r, tiergate.ScopeEvaluate),
		Version:    version,
	})
	app := server.NewApp(server.Config{
		Hosts:       listen.HostsOf([]string{o.HTTPAddr}, d.options.Host),
		CORSOrigins: o.CORSOrigin,
		Log:         d.log,
		Observe:     d.metrics.Door,
		Panicked:    d.metrics.Panicked,
	}, door)
	d.jobs = append(d.jobs, func(ctx context.Context) error { return server.Serve(ctx, app, ln, drainTime) })
	return nil
}

// defaultStaleAfter is when answers begin to say that they are stale where no age makes
// the sidecar unready.
const defaultStaleAfter = 15 * time.Second
