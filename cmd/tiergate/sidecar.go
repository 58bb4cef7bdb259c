package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/ofrep"
	"github.com/tiergate/tiergate/server/ops"
)

// sidecarCmd answers decisions next to an application.
type sidecarCmd struct {
	dataOptions
	replicaOptions
	doorOptions
	listenOptions
	Auth string `help:"Who may ask: none (for loopback), or keys (each request needs a team's API key)." enum:"none,keys" default:"none"`
}

// Run serves until ctx ends.
func (c *sidecarCmd) Run(ctx context.Context, log *slog.Logger) error {
	r, err := newReplica(c.Source, c.replicaOptions, c.DataDir, log)
	if err != nil {
		return err
	}
	serve, err := sidecarDoors(r, c.doorOptions, c.listenOptions, c.Auth, log)
	if err != nil {
		return err
	}
	return together(ctx, r.run, serve)
}

// sidecarDoors opens the listeners of a sidecar and returns the job that serves them.
func sidecarDoors(r *replica, o doorOptions, l listenOptions, auth string, log *slog.Logger) (job, error) {
	http, err := listen.Listen(o.HTTPAddr, l.on("--http-addr", log))
	if err != nil {
		return nil, err
	}
	opsListener, err := listen.Listen(o.OpsAddr, l.on("--ops-addr", log))
	if err != nil {
		return nil, errors.Join(err, http.Close())
	}
	state := ops.State{
		Version:     version,
		Evaluator:   r.engine,
		Freshness:   r.syncer.Freshness,
		ReadyMaxAge: o.ReadyMaxAge,
		Quarantined: func() []ops.Quarantined { return quarantined(r.engine) },
		Problems:    func() []string { return append(r.syncer.Problems(), r.problems()...) },
		Refused:     r.syncer.Refused,
		Listeners: []ops.Listener{
			{Name: "http", Addr: http.Addr().String(), TLS: l.TLSCert != ""},
			{Name: "ops", Addr: opsListener.Addr().String(), TLS: l.TLSCert != ""},
		},
	}
	registry := prometheus.NewRegistry()
	metrics, err := ops.NewMetrics(registry, state)
	if err != nil {
		return nil, errors.Join(err, http.Close(), opsListener.Close())
	}
	cfg := server.Config{
		Hosts:       listen.HostsOf([]string{o.HTTPAddr}, l.Host),
		CORSOrigins: o.CORSOrigin,
		Log:         log,
		Observe:     metrics.Door,
		Panicked:    metrics.Panicked,
	}
	door := ofrep.New(ofrep.Config{
		Evaluator:  r.engine,
		Freshness:  r.syncer.Freshness,
		StaleAfter: cmp.Or(o.ReadyMaxAge, defaultStaleAfter),
		Credential: credential(auth, r.engine),
		Version:    version,
	})
	app := server.NewApp(cfg, door)
	opsApp := server.NewApp(server.Config{Hosts: listen.HostsOf([]string{o.OpsAddr}, l.Host), Log: log})
	ops.Mount(opsApp, state, registry)
	return func(ctx context.Context) error {
		return together(ctx,
			func(ctx context.Context) error { return server.Serve(ctx, app, http, drainTime) },
			func(ctx context.Context) error { return server.Serve(ctx, opsApp, opsListener, drainTime) },
		)
	}, nil
}

// defaultStaleAfter is when answers begin to say that they are stale where no age makes
// the sidecar unready.
const defaultStaleAfter = 15 * time.Second

func quarantined(e *evaluator.Engine) []ops.Quarantined {
	var out []ops.Quarantined
	for _, q := range e.Quarantined() {
		out = append(out, ops.Quarantined{Set: q.Set, Flag: q.Flag, Error: q.Err.Error()})
	}
	return out
}

// credential resolves API keys against the generation in force; nil when none are needed.
func credential(auth string, e *evaluator.Engine) server.Resolver {
	if auth != "keys" {
		return nil
	}
	return func(text string) (*tiergate.Key, error) {
		presented, err := tiergate.ParseKey(text)
		if err != nil {
			return nil, err
		}
		g := e.Current()
		if g == nil {
			return nil, tiergate.Errorf(tiergate.Unavailable, "no keys are known yet")
		}
		key, _ := g.View().Key(presented.ID) // nil opens nothing
		if !presented.Opens(key, time.Now()) {
			return nil, tiergate.Errorf(tiergate.Unauthorized, "the API key is not valid")
		}
		return key, nil
	}
}
