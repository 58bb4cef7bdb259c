package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tiergate/tiergate"
)

// channel is where each commit that changes the configuration is announced, by number
// only. A notification is a hint: the feed is right without any.
const channel = "tiergate_feed"

// A Feed is the source of a database's configuration and all its changes. Each Follow
// has one connection of its own. Safe for concurrent use.
type Feed struct {
	cfg Config
}

// NewFeed makes the feed of a database without connecting to it.
func NewFeed(cfg Config) *Feed { return &Feed{cfg: cfg.withDefaults()} }

// feedParams are what a feed's session sets. A row filter would be an error, never an
// empty answer; the planner walks the log by its index however old its statistics are.
var feedParams = map[string]string{
	"application_name":              "tiergate feed",
	"row_security":                  "off",
	"timezone":                      "UTC",
	"default_transaction_read_only": "on",
	"statement_timeout":             "60s",
	"lock_timeout":                  "5s",
	"enable_seqscan":                "off",
	"enable_hashjoin":               "off",
	"enable_mergejoin":              "off",
	"jit":                           "off",
}

// Follow implements tiergate.Source. It listens before it reads, hands over the whole
// state unless from is a place in this database's history, then every revision, and
// confirms after each look at the head. It returns the reason when the connection is
// lost or silent; a database that cannot be used is one of Check's errors.
func (f *Feed) Follow(ctx context.Context, from tiergate.Resume, to tiergate.Follower) error {
	s, err := f.connect(ctx, to)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.listen(ctx); err != nil {
		return err
	}
	if err := s.begin(ctx, from); err != nil {
		return err
	}
	for {
		if err := s.catchUp(ctx); err != nil {
			return err
		}
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
}

// A session is one connection that follows the feed. Used by one goroutine.
type session struct {
	cfg   Config
	log   *slog.Logger
	conn  *pgx.Conn
	to    tiergate.Follower
	at    tiergate.Resume // what has been handed over
	dec   decoder
	heard time.Time // when we last made sure that we listen
	deaf  bool      // the server refuses to let us listen, as some did after a bug of their own
}

func (f *Feed) connect(ctx context.Context, to tiergate.Follower) (*session, error) {
	cc, err := pgx.ParseConfig(f.cfg.URL)
	if err != nil {
		return nil, badURL()
	}
	cc.ConnectTimeout = f.cfg.Patience
	maps.Copy(cc.RuntimeParams, feedParams)
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return nil, unreachable(cc, err)
	}
	s := &session{cfg: f.cfg, log: f.cfg.Log, conn: conn, to: to}
	if err := s.ask(ctx, func(ctx context.Context) error { return checkConn(ctx, conn) }); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // it goes either way
}

// ask runs one short exchange that must be answered within our patience.
func (s *session) ask(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.Patience, errSilent)
	defer cancel()
	return because(ctx, f(ctx))
}

var errSilent = errors.New("the database does not answer")

// because names the cause of an error that our own deadline brought about.
func because(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errSilent) {
		return tiergate.Errorf(tiergate.Unavailable, "the database does not answer").Because(err)
	}
	return err
}

// listen asks for notifications. A server that refuses is polled.
func (s *session) listen(ctx context.Context) error {
	err := s.ask(ctx, func(ctx context.Context) error {
		_, err := s.conn.Exec(ctx, "listen "+channel)
		return err
	})
	s.heard = time.Now()
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && !s.conn.IsClosed() {
		if !s.deaf {
			s.log.Warn("the server does not let us listen, polling only", "poll", s.cfg.Poll, "error", pg)
		}
		s.deaf = true
		return nil
	}
	s.deaf = false
	return wrap(err, "listen for changes")
}

// begin finds out whether from is a place in this history, and hands over the whole
// state when it is not.
func (s *session) begin(ctx context.Context, from tiergate.Resume) error {
	if from == (tiergate.Resume{}) {
		return s.handSnapshot(ctx)
	}
	var head tiergate.Resume
	var hash string
	err := s.ask(ctx, func(ctx context.Context) (err error) {
		if head, err = readHead(ctx, s.conn); err != nil {
			return err
		}
		err = s.conn.QueryRow(ctx, `select encode(hash, 'hex') from revisions where rev = $1`, from.Rev).Scan(&hash)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return wrap(err, "look for the place in the history")
	}
	reason := whyNot(head, from)
	if reason == "" && hash != from.Hash {
		reason = "the history differs"
	}
	if reason != "" {
		return s.resync(ctx, from, head, reason)
	}
	s.at = from
	return nil
}

// whyNot says why a place cannot be in the history that ends at head, "" when it can.
func whyNot(head, at tiergate.Resume) string {
	switch {
	case head.Epoch != at.Epoch:
		return "it is another history"
	case head.Schema != at.Schema:
		return "rows have another form"
	case head.Rev < at.Rev:
		return "the database is behind"
	case head.Rev == at.Rev && head.Hash != at.Hash:
		return "the history differs"
	}
	return ""
}

// resync starts anew after a restore or a failover took history away or replaced it.
func (s *session) resync(ctx context.Context, at, head tiergate.Resume, reason string) error {
	s.log.Warn("the history does not continue where we are, reading everything anew: a restore or a failover",
		"reason", reason, "at", at.Revision(), "head", head.Revision())
	return s.handSnapshot(ctx)
}

// wait returns when there may be news: a notification of a revision that we do not have,
// or the next poll.
func (s *session) wait(ctx context.Context) error {
	if time.Since(s.heard) >= s.cfg.Heartbeat {
		if err := s.checkListening(ctx); err != nil {
			return err
		}
	}
	pause := s.cfg.Poll - time.Duration(rand.Int64N(int64(s.cfg.Poll)/5+1))
	ctx2, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	for {
		n, err := s.conn.WaitForNotification(ctx2)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && ctx2.Err() != nil && !s.conn.IsClosed():
			return nil // time to poll: reading alone never notices a peer that is gone
		case err != nil:
			return wrap(err, "wait for changes")
		}
		if rev, err := strconv.ParseInt(n.Payload, 10, 64); err != nil || rev > s.at.Rev {
			return nil
		}
	}
}

// checkListening makes sure that the server still counts us among its listeners, which a
// pooler between us may have changed.
func (s *session) checkListening(ctx context.Context) error {
	var listening bool
	err := s.ask(ctx, func(ctx context.Context) error {
		return s.conn.QueryRow(ctx, `select exists (select from pg_listening_channels() c where c = $1)`, channel).Scan(&listening)
	})
	if err != nil {
		return wrap(err, "check that we listen")
	}
	s.heard = time.Now()
	if listening {
		return nil
	}
	if s.deaf {
		return s.listen(ctx)
	}
	s.log.Warn("the server does not know that we listen, listening again: is there a pooler in transaction mode?")
	return s.listen(ctx)
}

func readable(schema int) error {
	if schema == imageSchema {
		return nil
	}
	return tiergate.Errorf(tiergate.Conflict, "the database writes rows in form %d and this tiergate reads form %d", schema, imageSchema).
		Because(fmt.Errorf("read the feed: %w", ErrTooNew))
}
