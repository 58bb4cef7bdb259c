package main

import (
	"context"
	"log/slog"

	"github.com/tiergate/tiergate/postgres"
)

// migrateCmd brings a schema up to date.
type migrateCmd struct {
	Database string `help:"The database, as a user who may make its tables: postgres://…" placeholder:"URL" required:""`
	roleOptions
}

// Run migrates, and logs what it applied.
func (c *migrateCmd) Run(ctx context.Context, log *slog.Logger) error {
	return postgres.Migrate(ctx, c.Database, postgres.MigrateOptions{
		SingleRole: c.SingleRole, OwnerRole: c.OwnerRole, AdminRole: c.AdminRole, SidecarRole: c.SidecarRole, Log: log,
	})
}
