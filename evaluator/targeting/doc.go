// Package targeting is where a flag's JsonLogic rule becomes a program: Compile reads a
// rule once, when a revision is applied, and Rule.Eval runs it for one subject without
// allocating.
//
// A rule means here what it means to flagd, and where flagd's implementations differ what
// it means to npm @openfeature/flagd-core 4.0.1, the one that runs inside applications.
// That library compiles rules to JavaScript with json-logic-engine 5.0.7, whose meaning is
// a little more than JsonLogic's: comparing a word with a number is an error and not false,
// a part of a rule that reads nothing is computed once when the rule is read (so that an
// error in it is an error of the rule), and a few operators behave otherwise in such a
// constant part than in a part that reads the context. What is compiled here follows it in
// all of this; internal/flagd/flagdtest holds both against each other and lists, with
// reasons, where we differ on purpose.
//
// An error of Compile is the flag's PARSE_ERROR; an error of Eval is a GENERAL error of
// that one decision.
package targeting
