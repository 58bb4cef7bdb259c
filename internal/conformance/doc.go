// Package conformance holds the demo data and the decisions that it must lead to: a table
// computed by hand, run through every door. Further tables hold what uses of limits come to, which
// flag set answers, and how each kind of answer, errors too, is said by each door.
package conformance
