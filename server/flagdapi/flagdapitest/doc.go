// Package flagdapitest asks a running server through flagd's official providers, that for Node
// over gRPC and that for browsers over Connect, so that what real clients understand is
// tested and not what we think that they do.
package flagdapitest
