// Package server is the front of the doors that applications use: it bounds what a client
// may send, refuses hosts that are not ours, answers CORS, survives panics and counts, and
// then hands each request to its door. The doors are in the folders below; each knows the
// root interfaces only.
package server
