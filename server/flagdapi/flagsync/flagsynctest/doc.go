// Package flagsynctest asks a running server's flag definitions through the official
// OpenFeature SDK and flagd provider for Node, which decides in process, so that what real
// clients make of a document is tested and not what we think that they do.
package flagsynctest
