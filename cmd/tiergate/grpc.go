package main

import (
	"cmp"
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server/decision"
	"github.com/tiergate/tiergate/server/flagdapi"
	"github.com/tiergate/tiergate/server/rpc"
)

// off reports whether an address says that its door is not wanted.
func off(addr string) bool { return addr == "" || addr == "none" }

// addGRPC adds the door that applications ask at over gRPC, Connect and gRPC-Web.
func (d *doors) addGRPC(r *replica, counts *counter, o doorOptions, streams streamOptions, auth string) error {
	if off(o.GRPCAddr) {
		return nil
	}
	services := append(d.flagdServices(r, counts, auth), decision.Service(d.decisionConfig(r, counts, auth)))
	return d.serveRPC("grpc", "--grpc-addr", o.GRPCAddr, rpc.Config{CORSOrigins: o.CORSOrigin, MaxStreams: streams.MaxStreams}, services...)
}

// serveRPC opens a listener on which services are called. What all of them have in common is added
// to cfg.
func (d *doors) serveRPC(name, flag, addr string, cfg rpc.Config, services ...rpc.Service) error {
	options := d.options.on(flag, d.log)
	options.Protocols, options.Timeouts = rpc.Protocols(), listen.Timeouts{} // HTTP/2 has its own
	ln, err := d.listenWith(name, addr, options)
	if err != nil {
		return err
	}
	cfg.Hosts = listen.HostsOf([]string{addr}, d.options.Host)
	cfg.Ready, cfg.Log = d.state.Ready, d.log
	cfg.Observe, cfg.Panicked = d.metrics.Door, d.metrics.Panicked
	s := rpc.New(cfg, services...)
	d.jobs = append(d.jobs, func(ctx context.Context) error { return s.Serve(ctx, ln, drainTime) })
	return d.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "tiergate_rpc_streams",
		Help:        "Streaming calls under way, by listener.",
		ConstLabels: prometheus.Labels{"listener": name},
	}, func() float64 { return float64(s.Streams()) }))
}

// flagdServices are flagd's evaluation protocol.
func (d *doors) flagdServices(r *replica, counts *counter, auth string) []rpc.Service {
	return flagdapi.Services(flagdapi.Config{
		Watcher:    r.engine,
		AsOf:       r.syncer.AsOf,
		StaleAfter: cmp.Or(d.state.ReadyMaxAge, defaultStaleAfter),
		Credential: credential(auth, r, tiergate.ScopeEvaluate),
		Gate:       counts.gate.Hurried(),
	})
}
