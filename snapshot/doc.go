// Package snapshot is the in-memory copy of the configuration: one Store takes revisions
// and makes immutable Views that any number of readers share.
//
// go-memdb holds what has relations and is counted in thousands. Flags and teams are in
// persistent maps of our own, and so are users and memberships, which may be millions and
// are packed. A revision changes only what it names.
package snapshot
