package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tiergate/tiergate"
)

// snapshotKinds are what a whole state is made of, in the order in which it is read, and
// where from: definitions first, so that they are there when tenants refer to them.
var snapshotKinds = []struct {
	kind tiergate.Kind
	sql  string
}{
	{tiergate.KindFlagSet, `select image from replica_flag_set`},
	{tiergate.KindTier, `select image from replica_tier`},
	{tiergate.KindLimit, `select image from replica_limit`},
	{tiergate.KindPolicy, `select image from replica_policy`},
	{tiergate.KindFlag, `select image from replica_flag`},
	{tiergate.KindTeam, `select image from replica_team`},
	{tiergate.KindUser, `select image from replica_user`},
	{tiergate.KindMember, `select image from replica_member`},
	{tiergate.KindKey, `select image from replica_key`},
	{tiergate.KindOverride, `select image from replica_override`},
	{tiergate.KindGrant, `select image from replica_grant`},
}

// handSnapshot hands over the whole state as of one revision: the head and all rows are
// read in one transaction that sees one moment.
func (s *session) handSnapshot(ctx context.Context) error {
	asked := time.Now()
	ctx, watch := newWatchdog(ctx, s.cfg.Patience)
	defer watch.stop()
	tx, err := s.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return wrap(because(ctx, err), "begin to read the whole state")
	}
	head, at, err := snapshotHead(ctx, tx)
	if err == nil {
		err = readable(head.Schema)
	}
	if err != nil {
		return wrap(because(ctx, err), "read the head")
	}
	var broken error
	changes := func(yield func(tiergate.Change, error) bool) {
		broken = s.eachRow(ctx, tx, watch, func(c tiergate.Change) bool { return yield(c, nil) })
		if broken != nil {
			yield(tiergate.Change{}, broken)
		}
	}
	watch.pause()
	_ = s.to.Apply(ctx, tiergate.Revision{Resume: head, Whole: true, Changes: changes, At: at}) // a refusal is the follower's to report
	if broken != nil {
		return broken // the connection goes, and the transaction with it
	}
	watch.feed()
	if err := tx.Commit(ctx); err != nil {
		return wrap(because(ctx, err), "end reading the whole state")
	}
	s.at = head
	s.to.Confirm(asked)
	return nil
}

func snapshotHead(ctx context.Context, tx pgx.Tx) (head tiergate.Resume, at time.Time, err error) {
	var b pgx.Batch
	b.Queue(headSQL).QueryRow(func(row pgx.Row) (err error) { // the first query: the snapshot is taken here
		head, err = scanHead(row)
		return err
	})
	b.Queue(`select coalesce((select r.at from revisions r join feed_head h on r.rev = h.rev), now())`).QueryRow(func(row pgx.Row) error {
		return row.Scan(&at)
	})
	b.Queue(`set local enable_seqscan = on`)
	b.Queue(`set local statement_timeout = '15min'`)
	err = tx.SendBatch(ctx, &b).Close()
	return head, at.UTC(), err
}

// eachRow reads all kinds, one row at a time: a million users are never held at once.
func (s *session) eachRow(ctx context.Context, tx pgx.Tx, watch *watchdog, use func(tiergate.Change) bool) error {
	for _, k := range snapshotKinds {
		more, err := s.eachRowOf(ctx, tx, watch, k.kind, k.sql, use)
		if err != nil {
			return wrap(because(ctx, err), "read every %s", k.kind)
		}
		if !more {
			return nil
		}
	}
	return nil
}

func (s *session) eachRowOf(ctx context.Context, tx pgx.Tx, watch *watchdog, kind tiergate.Kind, sql string, use func(tiergate.Change) bool) (more bool, err error) {
	watch.feed()
	defer watch.pause()
	rows, err := tx.Query(ctx, sql)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	var image pgtype.DriverBytes
	for n := 0; rows.Next(); n++ {
		if n%watchedRows == 0 {
			watch.feed()
		}
		if err := rows.Scan(&image); err != nil {
			return false, err
		}
		thing, err := s.dec.decode(kind, image)
		if err != nil {
			return false, fmt.Errorf("row %d: %w", n, err)
		}
		if !use(tiergate.PutOf(thing)) {
			return false, nil
		}
	}
	return true, rows.Err()
}
