// Package flagdtest holds an evaluator against npm @openfeature/flagd-core 4.0.1: it makes
// up flags over all operators, asks both, and compares variant, value, reason and error
// code. The differences that we intend are in Differences, each with its reason and an
// example that is asked too. It needs Node 20 with npm.
package flagdtest
