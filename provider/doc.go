// Package provider is the OpenFeature provider for Go programs. InProcess decides in the program
// itself, from any tiergate.Source: a Postgres, a folder of flag files, or the flags that a
// sidecar streams (SyncStream). Sidecar asks a sidecar over OFREP; a program that only does that
// imports provider/sidecar, which links neither the policy engine nor gRPC.
//
// All are ready when there is something to answer from, say STALE while it may be old and ERROR
// once nothing has been heard for long, and find back by themselves from whatever keeps them from
// more; only what can never work, such as a key file that cannot be read, is FATAL.
package provider
