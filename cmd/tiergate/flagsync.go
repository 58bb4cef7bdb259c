package main

import (
	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/server/flagdapi/flagsync"
	"github.com/tiergate/tiergate/server/rpc"
)

// addSync adds the door at which flagd's in-process providers get flag definitions.
func (d *doors) addSync(r *replica, o doorOptions, streams streamOptions, auth string) error {
	if off(o.SyncAddr) {
		return nil
	}
	definitions := flagsync.New(flagsync.Config{
		Exporter: r.engine, Credential: credential(auth, r, tiergate.ScopeEvaluate), AsOf: r.syncer.AsOf,
	})
	return d.serveRPC("sync", "--sync-addr", o.SyncAddr, rpc.Config{MaxStreams: streams.MaxStreams}, definitions)
}
