package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tiergate/tiergate"
)

// Config says which database to use and how. Only URL is required.
type Config struct {
	// URL is postgres://… It must lead to Postgres itself, or to a pooler in session mode:
	// notifications do not pass one in transaction mode.
	URL string
	// Log gets what matters to operators; nil is nowhere.
	Log *slog.Logger
	// MaxConns bounds the connections of the services; 0 is 8. The feed has one of its own.
	MaxConns int32

	// Poll is how often the feed asks for news when no notification comes; 0 is 1 s. Each
	// wait is shortened by up to a fifth, so that a fleet does not ask at once.
	Poll time.Duration
	// Heartbeat is how often the feed makes sure that it still listens; 0 is 5 s.
	Heartbeat time.Duration
	// Patience is how long the feed waits for an answer before it takes the connection for
	// dead; 0 is 3 s.
	Patience time.Duration
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxConns == 0 {
		c.MaxConns = 8
	}
	if c.Poll == 0 {
		c.Poll = time.Second
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 5 * time.Second
	}
	if c.Patience == 0 {
		c.Patience = 3 * time.Second
	}
	return c
}

// How long one statement of the services may run, wait for a lock, and leave a
// transaction open: one stuck writer must not hold up everybody's changes.
var serviceParams = map[string]string{
	"statement_timeout":                   "5s",
	"lock_timeout":                        "2s",
	"idle_in_transaction_session_timeout": "5s",
	"application_name":                    "tiergate",
	"timezone":                            "UTC",
	"tiergate.scope":                      "platform",
}

// A DB keeps the configuration in Postgres. It implements tiergate's FlagService,
// TierService, LimitService, PolicyService, TeamService and UserService. Safe for
// concurrent use.
type DB struct {
	pool *pgxpool.Pool
	cfg  Config
}

// Open connects to the database and checks it, as Check does. Close it after use.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	cfg = cfg.withDefaults()
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, badURL()
	}
	pc.MaxConns = cfg.MaxConns
	pc.ConnConfig.ConnectTimeout = 5 * time.Second
	maps.Copy(pc.ConnConfig.RuntimeParams, serviceParams)
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", where(pc.ConnConfig), err)
	}
	if err := withConn(ctx, pool, func(c *pgx.Conn) error { return checkConn(ctx, c) }); err != nil {
		pool.Close()
		return nil, err
	}
	return &DB{pool: pool, cfg: cfg}, nil
}

// Close ends all connections.
func (db *DB) Close() { db.pool.Close() }

// Feed returns the source of all changes of this database.
func (db *DB) Feed() *Feed { return &Feed{cfg: db.cfg} }

// Head returns the newest revision.
func (db *DB) Head(ctx context.Context) (tiergate.Resume, error) {
	head, err := readHead(ctx, db.pool)
	if err != nil {
		return tiergate.Resume{}, wrap(err, "read the head of the feed")
	}
	return head, nil
}

func withConn(ctx context.Context, pool *pgxpool.Pool, f func(*pgx.Conn) error) error {
	c, err := pool.Acquire(ctx)
	if err != nil {
		return unreachable(pool.Config().ConnConfig, err)
	}
	defer c.Release()
	return f(c.Conn())
}

// badURL names no cause, which might quote a password.
func badURL() error {
	return tiergate.Errorf(tiergate.Invalid, "the database URL cannot be used: it should be postgres://user:password@host/database")
}
