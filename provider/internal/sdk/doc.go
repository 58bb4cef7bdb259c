// Package sdk is what the providers say to OpenFeature's SDK: an answer becomes a typed
// resolution, a context of the SDK a Value, a life between Init and Shutdown tells its state and
// its changes as events, and what is tracked waits in a bounded queue until it is recorded.
//
// It links the SDK and nothing that decides, so that a provider which asks a sidecar stays small.
package sdk
