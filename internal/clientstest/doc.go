// Package clientstest runs the official OpenFeature SDKs and providers for JavaScript, in Node,
// against the running program. It is a Node project, too: its packages are the versions that
// the guides in docs/clients name.
package clientstest
