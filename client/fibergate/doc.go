// Package fibergate guards the routes of Fiber apps with a tiergate sidecar, as package client
// guards those of net/http.
package fibergate
