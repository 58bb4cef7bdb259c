package main

import (
	"context"
	"log/slog"

	"github.com/tiergate/tiergate/postgres"
)

// migrateCmd brings a schema up to date.
type migrateCmd struct {
	Database    string `help:"The database, as a user who may make its tables: postgres://…" placeholder:"URL" required:""`
	SingleRole  bool   `help:"Make no roles and grant nothing: everything connects as the owner. For managed databases that give out one user."`
	OwnerRole   string `help:"The role that owns the tables." default:"tiergate_owner" placeholder:"NAME"`
	AdminRole   string `help:"The role that admins connect as." default:"tiergate_admin" placeholder:"NAME"`
	SidecarRole string `help:"The role that sidecars connect as." default:"tiergate_sidecar" placeholder:"NAME"`
}

// Run migrates, and logs what it applied.
func (c *migrateCmd) Run(ctx context.Context, log *slog.Logger) error {
	return postgres.Migrate(ctx, c.Database, postgres.MigrateOptions{
		SingleRole: c.SingleRole, OwnerRole: c.OwnerRole, AdminRole: c.AdminRole, SidecarRole: c.SidecarRole, Log: log,
	})
}
