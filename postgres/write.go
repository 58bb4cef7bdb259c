package postgres

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tiergate/tiergate"
)

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

const headSQL = `select epoch::text, rev, hash, schema from feed_head`

func readHead(ctx context.Context, q querier) (tiergate.Resume, error) {
	return scanHead(q.QueryRow(ctx, headSQL))
}

func scanHead(row pgx.Row) (head tiergate.Resume, err error) {
	var hash []byte
	err = row.Scan(&head.Epoch, &head.Rev, &hash, &head.Schema)
	head.Hash = hex.EncodeToString(hash)
	return head, err
}

// write runs one change in one transaction, in which everything happens or nothing: the
// change, its place in the history, and what its idempotency key will answer from now on.
//
//  1. take the head's lock, say who and why;
//  2. an idempotency key that is known answers as it did;
//  3. make the change;
//  4. close the revision, so that its place is known before the commit;
//  5. keep the answer under the key;
//  6. commit, or for a dry run roll back.
func write[T any](ctx context.Context, db *DB, w tiergate.Write, do func(context.Context, pgx.Tx) (T, error)) (tiergate.Written[T], error) {
	var out tiergate.Written[T]
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		before, err := lockHead(ctx, tx, w)
		if err != nil {
			return err
		}
		if replayed, err := replay(ctx, tx, w, &out); err != nil || replayed {
			return err
		}
		if out.Thing, err = do(ctx, tx); err != nil {
			return err
		}
		after, err := closeRevision(ctx, tx)
		if err != nil {
			return err
		}
		if w.DryRun {
			return errDryRun
		}
		if after.Rev != before.Rev {
			out.Resume = after
		}
		return remember(ctx, tx, w, out)
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return tiergate.Written[T]{}, wrap(err, "write")
	}
	return out, nil
}

var errDryRun = errors.New("dry run")

// lockHead is the first statement of every write: one order of locks, so no deadlocks.
func lockHead(ctx context.Context, tx pgx.Tx, w tiergate.Write) (tiergate.Resume, error) {
	var b pgx.Batch
	b.Queue(`select feed_lock(), set_config('tiergate.actor', $1, true), set_config('tiergate.request_id', $2, true),
		set_config('tiergate.reason', $3, true)`, w.Caller.ID, w.RequestID, w.Reason)
	var head tiergate.Resume
	b.Queue(headSQL).QueryRow(func(row pgx.Row) (err error) {
		head, err = scanHead(row)
		return err
	})
	return head, tx.SendBatch(ctx, &b).Close()
}

func closeRevision(ctx context.Context, tx pgx.Tx) (head tiergate.Resume, err error) {
	var b pgx.Batch
	b.Queue(`set constraints all immediate`)
	b.Queue(headSQL).QueryRow(func(row pgx.Row) (err error) {
		head, err = scanHead(row)
		return err
	})
	return head, tx.SendBatch(ctx, &b).Close()
}

// replay claims an idempotency key, or fills out with what it answered before.
func replay[T any](ctx context.Context, tx pgx.Tx, w tiergate.Write, out *tiergate.Written[T]) (bool, error) {
	if w.IdempotencyKey == "" || w.DryRun {
		return false, nil
	}
	tag, err := tx.Exec(ctx, `insert into idempotency_keys (caller, key, fingerprint) values ($1, $2, $3) on conflict do nothing`,
		w.Caller.ID, w.IdempotencyKey, w.Fingerprint)
	if err != nil || tag.RowsAffected() == 1 {
		return false, err
	}
	err = recall(ctx, tx, w, out)
	return err == nil, err
}

// recall fills out with what an idempotency key answered; pgx.ErrNoRows when it is new.
func recall[T any](ctx context.Context, q querier, w tiergate.Write, out *tiergate.Written[T]) error {
	var fingerprint, resume string
	var outcome []byte
	err := q.QueryRow(ctx, `select fingerprint, outcome, coalesce(resume, '') from idempotency_keys where caller = $1 and key = $2`,
		w.Caller.ID, w.IdempotencyKey).Scan(&fingerprint, &outcome, &resume)
	if err != nil {
		return err
	}
	if fingerprint != w.Fingerprint {
		return tiergate.Errorf(tiergate.Invalid, "this idempotency key was used for another request")
	}
	var told tiergate.Written[T]
	if err := json.Unmarshal(outcome, &told.Thing); err != nil {
		return err
	}
	if resume != "" {
		if told.Resume, err = tiergate.ParseResume(resume); err != nil {
			return err
		}
	}
	told.Replayed = true
	*out = told
	return nil
}

// keysKept is how long an idempotency key is good for; older ones go, a few at a time,
// when new ones come.
const keysKept = `24 hours`

func remember[T any](ctx context.Context, tx pgx.Tx, w tiergate.Write, out tiergate.Written[T]) error {
	if w.IdempotencyKey == "" {
		return nil
	}
	outcome, err := json.Marshal(out.Thing)
	if err != nil {
		return err
	}
	resume := ""
	if out.Resume != (tiergate.Resume{}) {
		resume = out.Resume.String()
	}
	var b pgx.Batch
	b.Queue(`update idempotency_keys set outcome = $3, resume = nullif($4, '') where caller = $1 and key = $2`,
		w.Caller.ID, w.IdempotencyKey, json.RawMessage(outcome), resume)
	b.Queue(`delete from idempotency_keys where (caller, key) in (
		select caller, key from idempotency_keys where created_at < now() - interval '` + keysKept + `' order by created_at limit 100)`)
	return tx.SendBatch(ctx, &b).Close()
}

// missed says why an update or delete with a version hit no row: it is gone, or it has
// another version.
func missed(ctx context.Context, tx pgx.Tx, what, exists string, key any) error {
	var version int64
	err := tx.QueryRow(ctx, exists, key).Scan(&version)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return tiergate.Errorf(tiergate.NotFound, "%s %q not found", what, key)
	case err != nil:
		return err
	}
	return tiergate.Errorf(tiergate.Stale, "%s %q is not as you have seen it: by now it has version %d", what, key, version)
}
