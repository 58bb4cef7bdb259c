// Package snapshot is the in-memory copy of the configuration: one Store takes revisions
// and makes immutable Views that any number of readers share.
//
// go-memdb holds what has relations and is counted in thousands. Users and memberships,
// which may be millions, are packed in a persistent hash map of our own, and so are the
// look-ups that a decision needs. A revision changes only what it names.
package snapshot
