package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/migrations"
)

// MinServerVersion is the oldest server that is accepted.
const MinServerVersion = 15

// What may be wrong with a database before anything is asked of it. Each is in the chain
// of an error whose text is one sentence for people.
var (
	ErrTooOld      = errors.New("the server is too old")
	ErrNotMigrated = errors.New("the database is not migrated")
	ErrTooNew      = errors.New("the database is newer than this program")
)

// A refusal is a domain error of one of these kinds, whose sentence says all by itself.
type refusal struct {
	said *tiergate.Error
	kind error
}

func refuse(kind error, format string, args ...any) error {
	return &refusal{tiergate.Errorf(tiergate.Conflict, format, args...), kind}
}

func (r *refusal) Error() string { return r.said.Message }

func (r *refusal) Unwrap() []error { return []error{r.said, r.kind} }

// Check connects and says whether the database can be used: Unavailable when it cannot
// be reached; else an error with ErrTooOld, ErrNotMigrated or ErrTooNew in its chain.
func Check(ctx context.Context, cfg Config) error {
	cc, err := pgx.ParseConfig(cfg.URL)
	if err != nil {
		return badURL()
	}
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return unreachable(cc, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return checkConn(ctx, conn)
}

func checkConn(ctx context.Context, c *pgx.Conn) error {
	if err := checkServer(ctx, c); err != nil {
		return err
	}
	version, err := schemaVersion(ctx, c)
	if err != nil {
		return wrap(err, "read the version of the schema")
	}
	return judgeSchema(version, where(c.Config()))
}

// judgeSchema says what a schema version means to this program.
func judgeSchema(version int64, where string) error {
	switch {
	case version == 0:
		return refuse(ErrNotMigrated, "the database %s is not migrated; run tiergate migrate", where)
	case version < migrations.Version:
		return refuse(ErrNotMigrated, "the database %s has schema %d and this tiergate needs %d; run tiergate migrate", where, version, migrations.Version)
	case version > migrations.Version:
		return refuse(ErrTooNew, "the database %s has schema %d and this tiergate knows %d; use a newer tiergate", where, version, migrations.Version)
	}
	return nil
}

func checkServer(ctx context.Context, c *pgx.Conn) error {
	var number int
	var name, encoding string
	err := c.QueryRow(ctx, `select current_setting('server_version_num')::int, current_setting('server_version'), current_setting('server_encoding')`).
		Scan(&number, &name, &encoding)
	if err != nil {
		return wrap(err, "ask the server for its version")
	}
	return judgeServer(number, name, encoding)
}

// judgeServer says what a server's version and encoding mean to this program.
func judgeServer(number int, name, encoding string) error {
	if number < MinServerVersion*10000 {
		return refuse(ErrTooOld, "PostgreSQL %s is too old: tiergate needs %d or later", name, MinServerVersion)
	}
	if encoding != "UTF8" {
		return tiergate.Errorf(tiergate.Conflict, "the database is encoded in %s: tiergate needs UTF8", encoding)
	}
	return nil
}

// schemaVersion returns the newest migration that was applied, 0 when there is none.
func schemaVersion(ctx context.Context, c *pgx.Conn) (int64, error) {
	var there bool
	if err := c.QueryRow(ctx, `select to_regclass('public.`+migrations.Table+`') is not null`).Scan(&there); err != nil || !there {
		return 0, err
	}
	var version int64
	err := c.QueryRow(ctx, `select coalesce(max(version_id), 0) from public.`+migrations.Table+` where is_applied`).Scan(&version)
	return version, err
}

// where names a database without its password.
func where(cc *pgx.ConnConfig) string {
	return fmt.Sprintf("%q at %s", cc.Database, address(&cc.Config))
}

func address(cc *pgconn.Config) string {
	if len(cc.Host) > 0 && cc.Host[0] == '/' {
		return cc.Host
	}
	return net.JoinHostPort(cc.Host, fmt.Sprint(cc.Port))
}

func unreachable(cc *pgx.ConnConfig, err error) error {
	return tiergate.Errorf(tiergate.Unavailable, "the database %s cannot be reached", where(cc)).Because(&briefly{err})
}

// briefly is an error of pgx's connecting, which says where it went several times over,
// told by what went wrong.
type briefly struct{ err error }

func (b *briefly) Unwrap() error { return b.err }

func (b *briefly) Error() string {
	if pg, ok := errors.AsType[*pgconn.PgError](b.err); ok {
		return pg.Message
	}
	if dns, ok := errors.AsType[*net.DNSError](b.err); ok {
		return dns.Err
	}
	if errno, ok := errors.AsType[syscall.Errno](b.err); ok {
		return errno.Error()
	}
	var timeout interface{ Timeout() bool }
	if errors.As(b.err, &timeout) && timeout.Timeout() || errors.Is(b.err, context.DeadlineExceeded) {
		return "it does not answer in time"
	}
	return b.err.Error()
}
