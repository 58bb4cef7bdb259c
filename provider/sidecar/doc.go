// Package sidecar is the OpenFeature provider that asks a tiergate sidecar over OFREP. Answers are
// kept, in a cache that the sidecar's event stream keeps honest: they are used while the stream is
// connected, and each of its events drops what it concerns. While the sidecar is away the provider
// is STALE and goes on with what it has, for a while; then it is in ERROR; and it finds back by
// itself. It is STALE, too, while the sidecar says that its own data are old.
//
// It links the SDK and net/http, and nothing that decides.
package sidecar
