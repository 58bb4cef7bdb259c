// Package localpg starts a private PostgreSQL from the machine's own binaries: on a
// Unix socket only, for the programs of one uid, gone when its owner is gone. It speaks
// no SQL; see package postgres for that.
package localpg
