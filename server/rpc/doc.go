// Package rpc is the listener of all gRPC doors. The first bytes of a connection decide:
// HTTP/2 is native gRPC, HTTP/1.x is Connect and gRPC-Web, for browsers and for whoever has no
// more than an HTTP client. A service is written once, for gRPC; both ways run the same
// method behind the same checks: who calls, how much at once, what a panic becomes, and what
// is counted. It knows no service but gRPC's own health and reflection.
package rpc
