package main

import (
	"cmp"
	"context"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/internal/listen"
	"github.com/tiergate/tiergate/server/decision"
	"github.com/tiergate/tiergate/server/flagdapi"
	"github.com/tiergate/tiergate/server/rpc"
)

// off reports whether an address says that its door is not wanted.
func off(addr string) bool { return addr == "" || addr == "none" }

// addGRPC adds the door that applications ask at over gRPC, Connect and gRPC-Web.
func (d *doors) addGRPC(r *replica, counts *counter, o doorOptions, auth string) error {
	if off(o.GRPCAddr) {
		return nil
	}
	services := append(d.flagdServices(r, counts, auth), decision.Service(d.decisionConfig(r, counts, auth)))
	return d.serveRPC("grpc", "--grpc-addr", o.GRPCAddr, o.CORSOrigin, services...)
}

// serveRPC opens a listener on which services are called.
func (d *doors) serveRPC(name, flag, addr string, origins []string, services ...rpc.Service) error {
	options := d.options.on(flag, d.log)
	options.Protocols, options.Timeouts = rpc.Protocols(), listen.Timeouts{} // HTTP/2 has its own
	ln, err := d.listenWith(name, addr, options)
	if err != nil {
		return err
	}
	s := rpc.New(rpc.Config{
		Hosts:       listen.HostsOf([]string{addr}, d.options.Host),
		CORSOrigins: origins,
		Ready:       d.state.Ready,
		Log:         d.log,
		Observe:     d.metrics.Door,
		Panicked:    d.metrics.Panicked,
	}, services...)
	d.jobs = append(d.jobs, func(ctx context.Context) error { return s.Serve(ctx, ln, drainTime) })
	return nil
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
