package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tiergate/tiergate/evaluator"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server"
	"github.com/tiergate/tiergate/server/ops"
)

// doors are the listeners of one program, and what is observed of them. Their listeners
// are opened before anything is served, so that an address that is taken is told at once.
type doors struct {
	options  listenOptions
	log      *slog.Logger
	state    ops.State
	registry *prometheus.Registry
	metrics  *ops.Metrics
	ledger   atomic.Pointer[ops.Ledger] // nil while nobody has looked
	opened   []net.Listener
	jobs     []job
}

// openDoors opens the door for whoever runs the program; the caller adds the others, and
// then runs them all or closes them. Where nothing is counted, counts is nil.
func openDoors(r *replica, counts *counter, o opsOptions, l listenOptions, log *slog.Logger) (*doors, error) {
	d := &doors{options: l, log: log, registry: prometheus.NewRegistry()}
	d.state = ops.State{
		Version:     version,
		Evaluator:   r.engine,
		Freshness:   r.syncer.Freshness,
		ReadyMaxAge: o.ReadyMaxAge,
		Quarantined: func() []ops.Quarantined { return quarantined(r.engine) },
		Policy:      func() ops.Policy { return policyOf(r.engine) },
		Problems:    func() []string { return append(r.syncer.Problems(), r.problems()...) },
		Refused:     r.syncer.Refused,
	}
	d.state.Ledger = d.ledger.Load
	if counts != nil {
		d.state.Usage = counts.usage
	}
	var err error
	if d.metrics, err = ops.NewMetrics(d.registry, d.state); err != nil {
		return nil, err
	}
	ln, err := d.listen("ops", "--ops-addr", o.OpsAddr)
	if err != nil {
		return nil, err
	}
	d.jobs = append(d.jobs, func(ctx context.Context) error {
		app := server.NewApp(server.Config{Hosts: listen.HostsOf([]string{o.OpsAddr}, l.Host), Log: log})
		ops.Mount(app, d.state, d.registry)
		return server.Serve(ctx, app, ln, drainTime)
	})
	return d, nil
}

// listen opens the listener of one door, which the setting flag has the address of.
func (d *doors) listen(name, flag, addr string) (net.Listener, error) {
	return d.listenWith(name, addr, d.options.on(flag, d.log))
}

func (d *doors) listenWith(name, addr string, options listen.Options) (net.Listener, error) {
	ln, err := listen.Listen(addr, options)
	if err != nil {
		return nil, err
	}
	_, isUnix := ln.Addr().(*net.UnixAddr)
	d.opened = append(d.opened, ln)
	d.state.Listeners = append(d.state.Listeners, ops.Listener{
		Name: name, Addr: ln.Addr().String(), TLS: d.options.TLSCert != "" && !isUnix,
	})
	return ln, nil
}

// run serves all doors until ctx ends or one breaks.
func (d *doors) run(ctx context.Context) error {
	for _, l := range d.state.Listeners {
		d.log.Info("listening", "door", l.Name, "addr", l.Addr, "tls", l.TLS)
	}
	return together(ctx, d.jobs...)
}

// close closes what was opened and will not be served, and returns why.
func (d *doors) close(why error) error {
	for _, ln := range d.opened {
		why = errors.Join(why, ln.Close())
	}
	return why
}

func quarantined(e *evaluator.Engine) []ops.Quarantined {
	var out []ops.Quarantined
	for _, q := range e.Quarantined() {
		out = append(out, ops.Quarantined{Set: q.Set, Flag: q.Flag, Error: q.Err.Error()})
	}
	return out
}

// policyOf tells of the policy in force.
func policyOf(e *evaluator.Engine) ops.Policy {
	g := e.Current()
	if g == nil {
		return ops.Policy{}
	}
	s := g.Policy().Stats()
	p := ops.Policy{
		Misses: uint64(s.Misses), Evaluations: uint64(s.Evaluations), Overruns: uint64(s.Overruns),
		CacheBytes: s.CacheBytes, CacheItems: s.CacheItems, Resting: s.Resting, Failures: map[string]uint64{},
	}
	for point, n := range s.Failures {
		p.Failures[point] = uint64(n)
	}
	for _, f := range s.LastFailures {
		p.Errors = append(p.Errors, fmt.Sprintf("the policy gave no usable answer (%s, last at %s): %s",
			count(int(f.Count), "time", "times"), f.Last.UTC().Format(time.RFC3339), f.Problem))
	}
	return p
}
