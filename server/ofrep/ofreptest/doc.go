// Package ofreptest asks a running server through the official OpenFeature SDK and OFREP
// provider for Node, so that what real clients understand is tested and not what we think
// that they do.
package ofreptest
