// Package evaluator is where a flag decision is made: an Engine takes revisions and hands
// out Generations, and Generation.Decide, in decide.go, is the story of one decision.
//
// A Generation is a snapshot's View, the compiled flags of each set and the policy with
// its cache. It is immutable; the Engine makes the next one by compiling what a revision
// changed, and puts it in force by swapping one pointer.
package evaluator
