// Package syncer (in the folder sync, and not named so because it needs the standard library's sync)
// takes revisions from a Source to an Applier, for ever, and says how old the result is.
//
// It keeps the last-known-good state on disk, from which a process starts when its source
// is away, and it is the home of the file source: a folder of flag files, tiers, teams and
// policies, watched. It knows the interfaces of the root package and flag files; it knows
// neither Postgres nor the evaluator.
//
// The secrets in a data directory, or in files that operators give, are read and made in key.go.
//
// What is on disk, and against what it protects, is told in files.go. The files tiers.yaml
// and teams.yaml in testdata/folder show every key that the file source reads.
package syncer
