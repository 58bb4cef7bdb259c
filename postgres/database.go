package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// CreateDatabase makes a database unless there is one of that name. url leads to another
// database of the same server, as a user who may make one.
func CreateDatabase(ctx context.Context, url, name string) error {
	cc, err := pgx.ParseConfig(url)
	if err != nil {
		return badURL()
	}
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return unreachable(cc, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "create database "+quote(name))
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "42P04" { // duplicate_database
		return nil
	}
	return wrap(err, "create database %s", name)
}
