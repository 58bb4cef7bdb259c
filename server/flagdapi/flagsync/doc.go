// Package flagsync is flagd.sync.v1: it hands a flag set's definitions to flagd's in-process
// providers, which decide in the application itself, and tells them of each change. What they
// get is a tiergate.FlagDocument: it is encoded once, however many follow a set.
package flagsync
