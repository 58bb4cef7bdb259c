package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"text/template"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/migrations"
)

// MigrateOptions say how to migrate. The zero value makes three roles of the usual names.
type MigrateOptions struct {
	// SingleRole makes no roles and grants nothing: everything runs as the owner of the
	// tables. For managed databases that give out one user.
	SingleRole bool
	// OwnerRole owns the tables; "" is tiergate_owner. It is made when the connecting user
	// may do that; one who may not owns the tables itself.
	OwnerRole string
	// AdminRole and SidecarRole are what admins and sidecars connect as; "" is
	// tiergate_admin and tiergate_sidecar. They are made, without a password, when missing.
	AdminRole, SidecarRole string
	// Log gets what was applied; nil is nowhere.
	Log *slog.Logger
}

func (o MigrateOptions) withDefaults() MigrateOptions {
	for field, name := range map[*string]string{&o.OwnerRole: "tiergate_owner", &o.AdminRole: "tiergate_admin", &o.SidecarRole: "tiergate_sidecar"} {
		if *field == "" {
			*field = name
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Migrate brings the schema of a database up to date and gives the roles their rights.
// It can be run again, and by several at once: they take turns.
func Migrate(ctx context.Context, url string, opts MigrateOptions) error {
	opts = opts.withDefaults()
	cc, err := pgx.ParseConfig(url)
	if err != nil {
		return badURL()
	}
	owner, err := prepareRoles(ctx, cc, opts)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*cc, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "set role "+quote(owner))
		return err
	}))
	defer db.Close()
	err = applyMigrations(ctx, db, where(cc), opts.Log)
	if _, said := errors.AsType[*refusal](err); err != nil && !said {
		return fmt.Errorf("migrate the database %s: %w", where(cc), err)
	}
	if err != nil || opts.SingleRole {
		return err
	}
	return grantRoles(ctx, db, opts)
}

func applyMigrations(ctx context.Context, db *sql.DB, where string, log *slog.Logger) error {
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS, goose.WithTableName(migrations.Table),
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	version, _, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if version > migrations.Version {
		return judgeSchema(version, where)
	}
	results, err := p.Up(ctx)
	for _, r := range results {
		log.Info("migration applied", "file", r.Source.Path, "took", r.Duration)
	}
	return err
}

// prepareRoles checks the server, makes the roles that are missing, and returns the role
// that owns the tables.
func prepareRoles(ctx context.Context, cc *pgx.ConnConfig, opts MigrateOptions) (string, error) {
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return "", unreachable(cc, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := checkServer(ctx, conn); err != nil {
		return "", err
	}
	r := roleMaker{conn: conn}
	if err := r.look(ctx); err != nil {
		return "", wrap(err, "look at the roles of the database")
	}
	owner, err := r.owner(ctx, opts)
	if err != nil || opts.SingleRole {
		return owner, err
	}
	for _, name := range []string{opts.AdminRole, opts.SidecarRole} {
		if err := r.ensure(ctx, name, "login"); err != nil {
			return "", err
		}
	}
	return owner, nil
}

type roleMaker struct {
	conn      *pgx.Conn
	me        string
	mayCreate bool
	present   string // the owner of the tables as they are, "" when there are none
}

func (r *roleMaker) look(ctx context.Context) error {
	return r.conn.QueryRow(ctx, `
		select current_user, r.rolsuper or r.rolcreaterole,
		  coalesce((select pg_get_userbyid(relowner) from pg_class where oid = to_regclass('public.feed_head')), '')
		from pg_roles r where r.rolname = current_user`).Scan(&r.me, &r.mayCreate, &r.present)
}

// owner chooses the owner: who owns the tables already, else the role that is asked for,
// else, when that cannot be had, the connecting user.
func (r *roleMaker) owner(ctx context.Context, opts MigrateOptions) (string, error) {
	if r.present != "" {
		return r.present, nil
	}
	if opts.SingleRole {
		return r.me, nil
	}
	exists, err := r.exists(ctx, opts.OwnerRole)
	if err != nil {
		return "", err
	}
	if !exists && !r.mayCreate {
		return r.me, nil
	}
	if err := r.ensure(ctx, opts.OwnerRole, "nologin"); err != nil {
		return "", err
	}
	_, err = r.conn.Exec(ctx, "grant usage, create on schema public to "+quote(opts.OwnerRole))
	return opts.OwnerRole, wrap(err, "let %s make tables", opts.OwnerRole)
}

func (r *roleMaker) exists(ctx context.Context, name string) (there bool, err error) {
	err = r.conn.QueryRow(ctx, `select exists (select from pg_roles where rolname = $1)`, name).Scan(&there)
	return there, wrap(err, "look for role %s", name)
}

// ensure makes a role that is missing. Roles belong to the whole cluster, so that another
// migration may make it at the same moment.
func (r *roleMaker) ensure(ctx context.Context, name, login string) error {
	exists, err := r.exists(ctx, name)
	if err != nil {
		return err
	}
	if !exists && !r.mayCreate {
		return tiergate.Errorf(tiergate.Conflict,
			"role %s does not exist and %s may not create it; create it first or migrate with a single role", name, r.me)
	}
	if !exists {
		_, err := r.conn.Exec(ctx, "create role "+quote(name)+" "+login)
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (pg.Code == "42710" || pg.Code == "23505") {
			err = nil // somebody else made it just now
		}
		if err != nil {
			return wrap(err, "create role %s", name)
		}
	}
	if login == "login" || name == r.me {
		return nil
	}
	var member bool
	if err := r.conn.QueryRow(ctx, `select pg_has_role($1, 'member')`, name).Scan(&member); err != nil || member {
		return wrap(err, "ask who is a member of %s", name)
	}
	_, err = r.conn.Exec(ctx, "grant "+quote(name)+" to "+quote(r.me))
	return wrap(err, "become role %s", name)
}

func grantRoles(ctx context.Context, db *sql.DB, opts MigrateOptions) error {
	t, err := template.New("roles").Parse(migrations.Roles)
	if err != nil {
		return err
	}
	var text strings.Builder
	if err := t.Execute(&text, migrations.RoleNames{Admin: quote(opts.AdminRole), Sidecar: quote(opts.SidecarRole)}); err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return wrap(err, "give the roles their rights")
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if _, err := tx.ExecContext(ctx, text.String()); err != nil {
		return wrap(err, "give the roles their rights")
	}
	return wrap(tx.Commit(), "give the roles their rights")
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
