// Package migrations holds the schema of the database as SQL, one file per change, for
// goose. Files are only ever added: what has been released is never edited.
package migrations

import (
	"embed"
	"time"
)

// FS holds the migrations.
//
//go:embed *.sql
var FS embed.FS

// Roles is the SQL that gives the two roles of a running system their rights, a
// text/template over RoleNames. It is run after each migration and can be run again.
//
//go:embed grants/roles.sql
var Roles string

// RoleNames are what Roles is filled with, each already quoted as an identifier.
type RoleNames struct {
	Admin   string
	Sidecar string
}

// Table is the name of the table in which goose keeps what has been applied.
const Table = "schema_migrations"

// Version is the number of the newest migration: what a program of this version needs.
const Version = 9

// The ledger's times, as the functions of the schema have them: for how long after a message
// a holder may spend what it holds, and how much longer until it counts as lost.
const (
	LeaseTTL   = 10 * time.Second
	LeaseGrace = 5 * time.Second
)
