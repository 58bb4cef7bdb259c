package main

import (
	"cmp"

	"github.com/tiergate/tiergate/server/decision"
)

// decisionConfig is what the decision API answers from, over HTTP and over gRPC. The door itself
// says which scope of a key it needs for what.
func (d *doors) decisionConfig(r *replica, counts *counter, auth string) decision.Config {
	return decision.Config{
		Evaluator:    r.engine,
		Gate:         counts.gate,
		Reservations: counts.gate,
		Gauges:       counts.gate,
		AsOf:         r.syncer.AsOf,
		StaleAfter:   cmp.Or(d.state.ReadyMaxAge, defaultStaleAfter),
		Credential:   credential(auth, r, ""),
		Log:          d.log,
	}
}
