// Package tiergate holds the words of the product: flags, tiers, limits, teams,
// subjects, decisions and revisions, how each is valid, and the small interfaces
// through which the rooms of the program meet. It imports the standard library only.
//
// A Source yields the state of the configuration as Revisions; an Applier puts them
// in force; a Generation is the result, an immutable state that decides. See
// docs/architecture.md for the map of the rooms.
package tiergate
