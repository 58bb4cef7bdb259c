// Package ops is the door for whoever runs the program: is it alive, may it get traffic,
// what does it do, and what is wrong with it.
//
// /healthz is for liveness: 200 as long as the process answers, whatever the data's age,
// since a restart makes no data younger. /readyz is for readiness: it follows the age of
// the data, not the state of a connection. /metrics is for Prometheus, /status for people.
package ops
