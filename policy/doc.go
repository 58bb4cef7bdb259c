// Package policy compiles Rego and answers access, tier and limits for one input. It knows
// OPA; it knows no storage.
//
// An Engine is one policy generation: the built-in modules of package rego overlaid by an
// admin's, and the definitions of tiers and limits as data.tiergate.definitions. Its
// answers are pure functions of an Input, so they are cached by the part of the input that
// the compiled rules can possibly read (see projection.go): a repeated question costs a
// memory look-up. Everything admin-written is untrusted: compiled under an allow-list of
// built-in functions, bounded in size, evaluated under a deadline, and admitted in a child
// process with hard limits before anybody publishes it (see Admit).
package policy
