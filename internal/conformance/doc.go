// Package conformance holds the demo data and the decisions that it must lead to: a table
// computed by hand, run through every door.
package conformance
