// Command tiergate is the one binary: the sidecar, the admin API, and the tools around
// them. It is the only place where rooms meet: each command reads its configuration,
// wires the rooms, runs them and closes them in reverse order.
package main
